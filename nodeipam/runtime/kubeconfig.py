"""Credentials from a kubeconfig: one user at one cluster, for as long as the process lives.

The files (:mod:`nodeipam.runtime.kubeconfigfile`) are looked at again each minute and after a 401; what an
exec plugin or an OpenID provider says is renewed before it expires.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from .credentials import Credentials
from .errors import CredentialsError
from .execplugin import Identity
from .kubeconfigfile import Kubeconfig, changed, find, load
from .renewal import Fetched, Renewal
from .tls import TLSFiles, with_certificate

__all__ = ["from_kubeconfig", "kubeconfig_exists"]

_REREAD = 60.0
"""Seconds after which the files are looked at again."""


def kubeconfig_exists(path: str | None = None) -> bool:
    """Whether there is a kubeconfig at `path`, or where one is looked for without a path."""
    return any(Path(part).exists() for part in find(path))


async def from_kubeconfig(
    path: str | None = None, *, context: str | None = None, server: str | None = None
) -> Credentials:
    """The credentials of one context of a kubeconfig.

    `path` is a file, or several joined by colons; None looks at $KUBECONFIG, then at ~/.kube/config.
    `context` None takes the current one. `server` replaces the cluster's address.

    Raises:
        CredentialsError: something is missing, malformed, or can't work here.
    """
    credentials = _Credentials(find(path), context, server)
    try:
        await credentials.start()
    except BaseException:
        await credentials.close()
        raise
    return credentials


class _Credentials:
    """One user at one cluster. The server stays what it was at the start; the rest follows the files."""

    def __init__(self, paths: list[str], context: str | None, server: str | None) -> None:
        self._paths = paths
        self._context = context
        self._override = server
        self._loaded: Kubeconfig
        self._latest: Kubeconfig | None = None
        self._files = Renewal(self._read, what=f"kubeconfig {':'.join(paths)}")
        self._plugin: Renewal[Identity] | None = None
        self._presented: tuple[bytes, TLSFiles, ssl.SSLContext] | None = None
        self._identity = Identity(headers={})

    def __repr__(self) -> str:
        return f"<Kubeconfig {':'.join(self._paths)} for {self.server}>"

    async def start(self) -> None:
        self._loaded = await self._files.get()
        if self._loaded.plugin is not None:
            self._plugin = Renewal(self._loaded.plugin.fetch, what=self._loaded.origin)
        await self.headers()

    @property
    def server(self) -> str:
        return self._loaded.server

    @property
    def server_name(self) -> str | None:
        return self._loaded.server_name

    @property
    def proxy(self) -> str | None:
        return self._loaded.proxy

    def ssl_context(self) -> ssl.SSLContext | None:
        files, pem = (self._latest or self._loaded).tls, self._identity.certificate
        if files is None or pem is None:
            return files.context if files else None
        if self._presented is None or self._presented[:2] != (pem, files):
            self._presented = (pem, files, self._present(files, pem))
        return self._presented[2]

    async def headers(self) -> Mapping[str, str]:
        loaded = await self._files.get()
        if self._plugin is None:
            return loaded.headers
        self._identity = await self._plugin.get()
        return self._identity.headers

    async def refresh(self) -> None:
        await self._files.renew()
        if self._plugin is not None:
            await self._plugin.renew()

    async def close(self) -> None:
        if self._plugin is not None:
            await self._plugin.close()
        await self._files.close()

    def _present(self, files: TLSFiles, pem: bytes) -> ssl.SSLContext:
        try:
            return with_certificate(files.files[0], pem)
        except OSError as error:
            raise CredentialsError(
                f"{self._loaded.origin}: can't use the client certificate: {error}"
            ) from error

    async def _read(self) -> Fetched[Kubeconfig]:
        """Read everything again if a file has changed. While it can't be read, what was read serves on."""
        latest = self._latest
        if latest is None or changed(latest):
            self._latest = latest = await load(self._paths, context=self._context, server=self._override)
        elif latest.tls is not None:
            latest.tls.reload()
        return Fetched(latest, recheck=_REREAD)
