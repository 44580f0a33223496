"""Who we are, and how we know the server: in a cluster, or from what the embedding application has.

(From a kubeconfig: :mod:`nodeipam.runtime.kubeconfig`.) What rests in files is looked at again each minute
and after a 401. While it can't be read, what was read before goes on serving. TLS is always verified.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from .errors import CredentialsError
from .logs import get_logger
from .tls import TLSFiles

__all__ = [
    "SERVICE_ACCOUNT",
    "Anonymous",
    "Credentials",
    "bearer",
    "check_server",
    "from_configuration",
    "in_cluster",
    "is_in_cluster",
    "namespace",
]

log = get_logger(__name__)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a Pod finds its token, the cluster's CA and its namespace."""

_REREAD = 60.0
"""Seconds after which files are looked at again, as client-go does."""


class Credentials(Protocol):
    """Who we are, and how to recognise the server. Each call asks `headers()`, then `ssl_context()`."""

    @property
    def server(self) -> str:
        """The server's address: https://host[:port][/path] (or http)."""

    @property
    def server_name(self) -> str | None:
        """The name that the server's certificate must bear, where that isn't the host of `server`."""

    @property
    def proxy(self) -> str | None:
        """The address of an HTTP proxy, or None."""

    def ssl_context(self) -> ssl.SSLContext | None:
        """How to verify the server, with our certificate if we have one; a new object once either changed."""

    async def headers(self) -> Mapping[str, str]:
        """The headers that say who we are, renewed before they expire.

        Raises:
            CredentialsError: there are none, or they have expired and can't be renewed.
        """

    async def refresh(self) -> None:
        """Fetch everything anew: the server has refused what we have.

        Raises:
            CredentialsError: it can't be fetched.
        """

    async def close(self) -> None:
        """End what renews in the background. To be called by the transport that owns these credentials."""


class Anonymous:
    """No identity at all: for a server such as `kubectl proxy`, which adds one.

    Raises:
        CredentialsError: `server` isn't an http or https address.
    """

    def __init__(self, server: str) -> None:
        self.server = check_server(server, "the server's address")
        self.server_name: str | None = None
        self.proxy: str | None = None
        self._tls = TLSFiles() if server.startswith("https:") else None

    def __repr__(self) -> str:
        return f"<Anonymous to {self.server}>"

    def ssl_context(self) -> ssl.SSLContext | None:
        """The system's CAs."""
        return self._tls.context if self._tls else None

    async def headers(self) -> Mapping[str, str]:
        """None that say who we are."""
        return {}

    async def refresh(self) -> None:
        """There is nothing to fetch."""

    async def close(self) -> None:
        """Nothing renews in the background."""


def is_in_cluster(*, environ: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> bool:
    """Whether this looks like a Pod with a service account."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (folder / "token").exists()


def in_cluster(*, environ: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> Credentials:
    """The service account of the Pod that we run in.

    Raises:
        CredentialsError: this isn't a Pod, or its token or CA can't be read.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise CredentialsError(
            "not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must both be set, "
            f"not {host!r} and {port!r}"
        )
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return _ServiceAccount(check_server(server, "KUBERNETES_SERVICE_HOST and _PORT"), folder)


def namespace(*, folder: Path = SERVICE_ACCOUNT) -> str:
    """The namespace of the Pod that we run in.

    Raises:
        CredentialsError: it can't be read.
    """
    return _read(folder / "namespace", "the Pod's namespace")


def from_configuration(configuration: Any) -> Credentials:
    """The credentials of a `kubernetes_asyncio` Configuration or ApiClient, which stays its owner's.

    Its `refresh_api_key_hook` is called before every request, as kubernetes_asyncio does.

    Raises:
        CredentialsError: it has no usable server, or doesn't verify the server's certificate.
    """
    return _Configured(getattr(configuration, "configuration", configuration))


def bearer(token: str, origin: str) -> dict[str, str]:
    """The header that carries `token`.

    Raises:
        CredentialsError: it can't be a token. The message names `origin` and keeps the token to itself.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialsError(f"{origin} holds no token: it is empty, or has spaces or other odd characters")
    return {"Authorization": f"Bearer {token}"}


def check_server(server: Any, origin: str) -> str:
    """Return `server` if it is an address that we can talk to.

    Raises:
        CredentialsError: it isn't.
    """
    right = "it should look like https://host:6443"
    if not isinstance(server, str):
        raise CredentialsError(f"{origin} is {server!r}: {right}")
    try:
        parts = urlsplit(server)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise CredentialsError(f"{origin} is {server!r}: {right}") from None
    if parts.username is not None or parts.password is not None:
        raise CredentialsError(f"{origin} has a user name or password in it: {right}")
    if not usable or parts.query or parts.fragment or server != server.strip():
        raise CredentialsError(f"{origin} is {server!r}: {right}")
    return server


class _ServiceAccount:
    """A Pod's token and CA, re-read each minute: kubelet renews them in place."""

    def __init__(self, server: str, folder: Path) -> None:
        self.server = server
        self.server_name: str | None = None
        self.proxy: str | None = None
        self._token = folder / "token"
        self._tls = TLSFiles(ca=str(folder / "ca.crt"))
        self._headers = self._read_token()
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<ServiceAccount of {self.server}, token in {self._token}>"

    def ssl_context(self) -> ssl.SSLContext:
        return self._tls.context

    async def headers(self) -> Mapping[str, str]:
        if asyncio.get_running_loop().time() >= self._due:
            await _try_again(self)
        return self._headers

    async def refresh(self) -> None:
        self._due = asyncio.get_running_loop().time() + _REREAD
        self._headers = self._read_token()
        self._tls.reload()

    async def close(self) -> None:
        """Nothing renews in the background."""

    def _read_token(self) -> Mapping[str, str]:
        return bearer(_read(self._token, "the service account's token"), str(self._token))


class _Configured:
    """What the embedding application configured for kubernetes_asyncio, read anew for each request."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration
        self.server = check_server(getattr(configuration, "host", None), "the configuration's host")
        self.server_name: str | None = getattr(configuration, "tls_server_name", None)
        self.proxy: str | None = getattr(configuration, "proxy", None)
        if not getattr(configuration, "verify_ssl", True):
            raise CredentialsError(
                "the configuration has verify_ssl=False; set ssl_ca_cert to the server's CA"
            )
        if getattr(configuration, "proxy_headers", None):
            raise CredentialsError("the configuration has proxy_headers, which aren't supported")
        self._due = 0.0
        self._tls = self._files() if self.server.startswith("https:") else None

    def __repr__(self) -> str:
        return f"<Credentials for {self.server} from a kubernetes_asyncio Configuration>"

    def ssl_context(self) -> ssl.SSLContext | None:
        return self._tls.context if self._tls else None

    async def headers(self) -> Mapping[str, str]:
        try:
            settings = self._configuration.auth_settings()
            if inspect.isawaitable(settings):
                settings = await settings
        except Exception as error:
            raise CredentialsError(f"the configuration's refresh_api_key_hook failed: {error!r}") from error
        if asyncio.get_running_loop().time() >= self._due:
            await _try_again(self)
        token = settings.get("BearerToken")
        return {"Authorization": token["value"].strip()} if token and token["value"] else {}

    async def refresh(self) -> None:
        self._due = asyncio.get_running_loop().time() + _REREAD
        if self._tls is None:
            return
        files = (self._configuration.ssl_ca_cert, self._configuration.cert_file, self._configuration.key_file)
        if files != self._tls.files:
            self._tls = self._files()
        else:
            self._tls.reload()

    async def close(self) -> None:
        """Nothing renews in the background."""

    def _files(self) -> TLSFiles:
        given = self._configuration
        return TLSFiles(ca=given.ssl_ca_cert, certificate=given.cert_file, key=given.key_file)


async def _try_again(credentials: Credentials) -> None:
    try:
        await credentials.refresh()
    except CredentialsError as error:
        log.warning("can't renew the credentials, so the old ones go on serving", error=str(error))


def _read(path: Path, what: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise CredentialsError(f"can't read {what} from {path}: {error}") from error
    if not text:
        raise CredentialsError(f"can't read {what} from {path}: the file is empty")
    return text
