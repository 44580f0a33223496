"""Exec credential plugins: a program, named in a kubeconfig, that says who we are.

The protocol is `client.authentication.k8s.io`, as described in Kubernetes' page "Authenticating", section
"client-go credential plugins". kubernetes_asyncio's own implementation reads the two pipes one after the
other (so a talkative plugin hangs for ever), leaves the process behind when cancelled, and doesn't renew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from .credentials import bearer
from .errors import CredentialsError
from .renewal import Fetched

__all__ = ["ExecPlugin", "Identity"]

_GROUP = "client.authentication.k8s.io"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who we are: headers, and a certificate with its private key, either of which may be missing."""

    headers: Mapping[str, str] = field(repr=False)
    certificate: bytes | None = field(default=None, repr=False)


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    kind: str
    api_version: str
    status: _Status | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecPlugin:
    """One plugin, ready to be run."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    environ: Mapping[str, str] = field(repr=False)
    api_version: str
    install_hint: str = ""
    cluster: Mapping[str, Any] | None = field(default=None, repr=False)
    """What the plugin is told about the cluster, where it asks for that."""
    timeout: float = 60.0
    """Seconds that a run may take."""

    @classmethod
    def parse(cls, spec: Any, *, origin: str, folder: str, cluster: Mapping[str, Any]) -> ExecPlugin:
        """Read a kubeconfig user's `exec`. `folder` is the kubeconfig's, to which a relative path refers.

        Raises:
            CredentialsError: something is missing or can't work here.
        """
        try:
            found = msgspec.convert(spec, _Spec)
        except msgspec.ValidationError as error:
            raise CredentialsError(f"{origin}: exec is malformed: {error}") from None
        group, _, version = found.api_version.partition("/")
        if group != _GROUP or version not in {"v1", "v1beta1"}:
            raise CredentialsError(
                f"{origin}: exec.apiVersion is {found.api_version!r}; it should be {_GROUP}/v1 (or v1beta1)"
            )
        if found.interactive_mode == "Always":
            raise CredentialsError(
                f"{origin}: the exec plugin {found.command!r} wants a terminal (interactiveMode: Always), "
                "and there is none"
            )
        command = found.command
        if "/" in command:
            command = str(Path(folder, command))
        return cls(
            command=command,
            args=tuple(found.args or ()),
            environ={variable.name: variable.value for variable in found.env or ()},
            api_version=found.api_version,
            install_hint=found.install_hint,
            cluster=cluster if found.provide_cluster_info else None,
        )

    async def fetch(self) -> Fetched[Identity]:
        """Run the plugin and read what it says.

        Cancelling it kills the plugin with everything that it started.

        Raises:
            CredentialsError: it can't be run, failed, took too long, or didn't say who we are.
        """
        try:
            async with asyncio.timeout(self.timeout):
                code, out, err = await self._run()
        except TimeoutError:
            raise CredentialsError(
                f"exec plugin {self.command!r} took more than {self.timeout:g} s and was killed"
            ) from None
        if code != 0:
            raise CredentialsError(
                f"exec plugin {self.command!r} ended with code {code}: {_tail(err) or 'it printed no reason'}"
            )
        return self._understand(out)

    async def _run(self) -> tuple[int, bytes, bytes]:
        # In a task, since asyncio leaks pipes and grandchildren where a start is cancelled halfway.
        starting = asyncio.ensure_future(self._start())
        try:
            await asyncio.wait({starting})
            process = starting.result()
            out, err = await process.communicate()
            return process.returncode or 0, out, err
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            if starting.exception() is None:
                await _kill(starting.result())
            raise

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                self.command,
                *self.args,
                env={**os.environ, **self.environ, "KUBERNETES_EXEC_INFO": self._info()},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # so that the plugin can be killed with its children
            )
        except (OSError, ValueError) as error:
            hint = f". {self.install_hint}" if self.install_hint else ""
            raise CredentialsError(f"can't run exec plugin {self.command!r}: {error}{hint}") from error

    def _info(self) -> str:
        spec: dict[str, Any] = {"interactive": False}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        info = {"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}
        return msgspec.json.encode(info).decode()

    def _understand(self, out: bytes) -> Fetched[Identity]:
        origin = f"exec plugin {self.command!r}"
        try:
            answer = msgspec.json.decode(out, type=_ExecCredential)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # What it printed may hold a token, so it isn't shown.
            raise CredentialsError(f"{origin} printed no ExecCredential: {error}") from None
        if answer.kind != "ExecCredential" or answer.api_version != self.api_version:
            raise CredentialsError(
                f"{origin} printed {answer.kind} of {answer.api_version}, "
                f"not ExecCredential of {self.api_version}"
            )
        status = answer.status or _Status()
        if bool(status.client_certificate_data) != bool(status.client_key_data):
            raise CredentialsError(f"{origin} must print clientCertificateData and clientKeyData, or neither")
        if not status.token and not status.client_certificate_data:
            raise CredentialsError(f"{origin} printed neither a token nor a client certificate")
        identity = Identity(
            headers=bearer(status.token.strip(), origin) if status.token else {},
            certificate=_pem(status),
        )
        return Fetched(identity, _lifetime(status.expiration_timestamp))


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()


class _Variable(msgspec.Struct):
    name: str
    value: str


class _Spec(msgspec.Struct, rename="camel"):
    command: str
    api_version: str
    args: list[str] | None = None
    env: list[_Variable] | None = None
    install_hint: str = ""
    interactive_mode: str = "IfAvailable"
    provide_cluster_info: bool = False


def _pem(status: _Status) -> bytes | None:
    if not status.client_certificate_data:
        return None
    return f"{status.client_certificate_data}\n{status.client_key_data}\n".encode()


def _lifetime(end: datetime | None) -> float | None:
    if end is None:
        return None
    if end.tzinfo is None:
        end = end.replace(tzinfo=UTC)
    return (end - datetime.now(UTC)).total_seconds()


def _tail(text: bytes) -> str:
    return " ".join(text[-2000:].decode(errors="replace").split())[-300:]
