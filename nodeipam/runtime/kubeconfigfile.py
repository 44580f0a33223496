"""Reading a kubeconfig with kubernetes_asyncio.

Its import costs 72 MiB and 0.6 s, so it happens here, late, and in a thread; so does the parsing, since the
YAML of a large kubeconfig would stall the loop. It merges the files and decodes what they hold. The choice of
context, cluster and user is made here, as its messages would quote the secrets beside a missing key; exec
plugins and OpenID Connect are ours (:mod:`~nodeipam.runtime.execplugin`, :mod:`~nodeipam.runtime.oidc`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .credentials import SERVICE_ACCOUNT, bearer, check_server
from .errors import CredentialsError
from .execplugin import ExecPlugin
from .oidc import OIDC, parse_settings
from .tls import TLSFiles, fingerprint

__all__ = ["Kubeconfig", "changed", "find", "load"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kubeconfig:
    """One context of a kubeconfig, resolved: where the server is, how to verify it, who we are."""

    origin: str
    """The files and the user, for messages."""
    server: str
    server_name: str | None
    proxy: str | None
    headers: Mapping[str, str] = field(repr=False)
    """Who we are, unless `plugin` says so."""
    tls: TLSFiles | None
    """None where the server speaks plain http."""
    plugin: ExecPlugin | OIDC | None
    seen: Mapping[str, object] = field(repr=False)
    """The files that were read, as they were then."""


def find(path: str | None) -> list[str]:
    """The files that `path` names, joined by colons; without it $KUBECONFIG, or else ~/.kube/config, does."""
    text = path or os.environ.get("KUBECONFIG") or "~/.kube/config"
    return [str(Path(part).expanduser()) for part in text.split(os.pathsep) if part]


def changed(kubeconfig: Kubeconfig) -> bool:
    """Whether one of the files has changed since. Certificates are their own TLSFiles' business."""
    return any(_fingerprint(path) != seen for path, seen in kubeconfig.seen.items())


async def load(paths: list[str], *, context: str | None, server: str | None) -> Kubeconfig:
    """Read the files and resolve `context` (None: the current one); `server` replaces the cluster's address.

    Raises:
        CredentialsError: something is missing, malformed, or can't work here.
    """
    origin = f"kubeconfig {os.pathsep.join(paths)}"
    seen: dict[str, object] = {path: mark for path in paths if (mark := _fingerprint(path)) is not None}
    if not seen:
        raise CredentialsError(
            f"{origin} doesn't exist: name a file that does, or set KUBECONFIG; in a Pod neither is needed, "
            f"but KUBERNETES_SERVICE_HOST and {SERVICE_ACCOUNT}/token, which a kubelet provides"
        )
    chosen = _Choice(await asyncio.to_thread(_merge, list(seen), origin), origin, context)
    if token_file := chosen.user.get("tokenFile"):
        seen[token_file] = _fingerprint(token_file)
    return await chosen.resolve(server, seen)


def _merge(paths: list[str], origin: str) -> Any:
    """What kubernetes_asyncio makes of the files: its KubeConfigMerger."""
    import yaml  # noqa: PLC0415
    from kubernetes_asyncio.config.kube_config import KubeConfigMerger  # noqa: PLC0415

    try:
        return KubeConfigMerger(os.pathsep.join(paths))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        reason = f"{error.problem} in line {mark.line + 1}" if mark else f"{error.problem}"
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever a file of the wrong shape makes of it
        reason = f"it isn't shaped like one ({type(error).__name__})"
    raise CredentialsError(f"{origin} can't be read: {reason}")


class _Choice:
    """The context, cluster and user that were chosen from merged files, with every path made absolute."""

    def __init__(self, merger: Any, origin: str, context: str | None) -> None:
        self._merger = merger
        config = merger.config.value
        name = context or config.get("current-context")
        if not name:
            raise CredentialsError(
                f"{origin} has no current-context: name one of its contexts ({_names(config, 'contexts')})"
            )
        chosen = _entry(config, "contexts", name, origin)
        by = f"{origin}, context {name!r}"
        self.cluster_name = chosen.value["context"].get("cluster")
        node = _entry(config, "clusters", self.cluster_name, by)
        self.cluster = _absolute(node, "cluster", ("certificate-authority",))
        self.origin = by
        self.user: dict[str, Any] = {}
        self._stored_user: dict[str, Any] = {}
        self._folder = ""
        user = chosen.value["context"].get("user")
        if user:
            node = _entry(config, "users", user, by)
            self.user = _absolute(node, "user", ("client-certificate", "client-key", "tokenFile"))
            self._stored_user = node.value["user"]
            self._folder = str(Path(node.path).absolute().parent)
            self.origin = f"{origin}, user {user!r}"
        elif str(self.cluster.get("server", "")).startswith("https:"):
            raise CredentialsError(f"{by} names no user: it needs one of ({_names(config, 'users')})")

    async def resolve(self, server: str | None, seen: Mapping[str, object]) -> Kubeconfig:
        if self.cluster.get("insecure-skip-tls-verify"):
            raise CredentialsError(
                f"{self.origin}: insecure-skip-tls-verify isn't supported, since anybody could pose as the "
                "server and take the token: set certificate-authority to the server's CA"
            )
        if asked := [key for key in ("as", "as-uid", "as-groups", "as-user-extra") if self.user.get(key)]:
            raise CredentialsError(f"{self.origin}: impersonation ({asked[0]}) isn't supported: remove it")
        address = check_server(
            server or self.cluster.get("server"),
            f"{self.origin}: the server of cluster {self.cluster_name!r}",
        )
        secure = address.startswith("https:")
        plugin = self._plugin()
        found = await self._decoded(address)
        return Kubeconfig(
            origin=self.origin,
            server=address,
            server_name=self.cluster.get("tls-server-name") or None,
            proxy=self._proxy(),
            headers={} if plugin else self._headers(found),
            tls=TLSFiles(ca=found.ssl_ca_cert, certificate=found.cert_file, key=found.key_file)
            if secure
            else None,
            plugin=plugin,
            seen=seen,
        )

    async def _decoded(self, address: str) -> SimpleNamespace:
        """What kubernetes_asyncio's loader says: a token, and the names of files (which it makes from data).

        It is shown nothing but this cluster and this user, without plugins, so that it can't start one, and a
        user even where there is none, since it breaks on that. A Configuration isn't used, since making one
        changes the levels of other people's loggers.
        """
        from kubernetes_asyncio.config.kube_config import KubeConfigLoader  # noqa: PLC0415

        user = {key: value for key, value in self.user.items() if key not in {"exec", "auth-provider"}}
        if user.get("tokenFile"):
            user.pop("token", None)  # the file wins, as in client-go
        config = {
            "current-context": "one",
            "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
            "clusters": [{"name": "one", "cluster": {**self.cluster, "server": address}}],
            "users": [{"name": "one", "user": user}],
        }
        found = SimpleNamespace(api_key={}, ssl_ca_cert=None, cert_file=None, key_file=None)
        try:
            await KubeConfigLoader(config, config_base_path="").load_and_set(found)
        except OSError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - its messages may quote what is secret
            reason = f"data in it is malformed ({type(error).__name__})"
            if type(error).__name__ == "ConfigException" and str(error).startswith("File does not exist"):
                reason = str(error)
        else:
            return found
        raise CredentialsError(f"{self.origin}: {reason}")

    def _headers(self, found: SimpleNamespace) -> Mapping[str, str]:
        scheme, _, text = str(found.api_key.get("BearerToken", "")).partition(" ")
        if scheme == "Basic":
            return {"Authorization": f"Basic {text}"}
        if scheme or self.user.get("tokenFile"):
            return bearer(text.strip(), f"{self.origin}: {self.user.get('tokenFile') or 'token'}")
        return {}

    def _plugin(self) -> ExecPlugin | OIDC | None:
        if "exec" in self.user:
            return ExecPlugin.parse(
                self.user["exec"], origin=self.origin, folder=self._folder, cluster=self.cluster
            )
        provider = self.user.get("auth-provider")
        if not provider:
            return None
        name = provider.get("name") if isinstance(provider, dict) else provider
        if name != "oidc":
            raise CredentialsError(
                f"{self.origin}: auth-provider {name!r} was removed in Kubernetes 1.26: use its exec plugin"
            )
        settings = parse_settings(provider.get("config"), origin=self.origin, folder=self._folder)
        return OIDC(settings=settings, origin=self.origin, persist=self._persist)

    async def _persist(self, tokens: Mapping[str, str]) -> None:
        """Write renewed tokens back, as kubectl does."""
        self._stored_user["auth-provider"]["config"].update(tokens)
        await asyncio.to_thread(self._merger.save_changes)

    def _proxy(self) -> str | None:
        proxy = self.cluster.get("proxy-url") or None
        if proxy and not str(proxy).startswith(("http://", "https://")):
            scheme = str(proxy).partition(":")[0]
            raise CredentialsError(f"{self.origin}: proxy-url has scheme {scheme!r}; it can be http or https")
        return proxy


def _entry(config: Mapping[str, Any], kind: str, name: Any, by: str) -> Any:
    """The node called `name` in one of the three lists."""
    one = kind.removesuffix("s")
    for node in config[kind]:
        if isinstance(node.value, dict) and node.value.get("name") == name:
            if isinstance(node.value.get(one), dict):
                return node
            raise CredentialsError(f"{by}: {one} {name!r} is empty")
    raise CredentialsError(f"{by}: there is no {one} {name!r}; there are: {_names(config, kind)}")


def _names(config: Mapping[str, Any], kind: str) -> str:
    nodes = [node.value for node in config[kind] if isinstance(node.value, dict)]
    return ", ".join(repr(node.get("name")) for node in nodes) or "none"


def _absolute(node: Any, kind: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """The entry itself, its paths taken relative to the file that it stands in."""
    entry = dict(node.value[kind])
    folder = Path(node.path).absolute().parent
    for key in keys:
        if entry.get(key):
            entry[key] = str(folder / str(entry[key]))
    return entry


def _fingerprint(path: str) -> object:
    try:
        return fingerprint(path)
    except OSError:
        return None
