"""The exceptions of the runtime. Each says who raises it, when, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "APIError",
    "Cause",
    "ConfigurationError",
    "CredentialsError",
    "KubeError",
    "LeadershipLost",
    "ListenError",
    "ProtocolError",
    "QueueShutDown",
    "TerminalError",
    "TransportError",
]


class KubeError(Exception):
    """The base of every exception that the runtime raises on purpose, for a host that wants to catch all."""


class ConfigurationError(KubeError, ValueError):
    """Raised where options are built, when they contradict each other or can't work.

    The message gives the offending values and what would be right. A person has to change the settings.
    """


class CredentialsError(KubeError):
    """Raised when connecting, when it can't be told who we are or which server to talk to.

    A kubeconfig that is missing, malformed or has no such context or user; a service account without a token;
    an exec plugin that fails. While running, a failed refresh is retried and shows as a TransportError.
    """


class TransportError(KubeError):
    """Raised by the transport when an exchange did not come to its end: refused, reset, timed out, cut off.

    For a write this says nothing about its outcome: the server may have carried it out, may do so later, or
    never will. Read the object before deciding.
    """


class ProtocolError(TransportError):
    """Raised when an answer isn't what an API server says: not JSON, a wrong kind, longer than its limit.

    Usually a proxy or a login page stands where the API server is expected. The message shows how the answer
    begins. It is as silent about a write's outcome as any TransportError.
    """


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of a Status's `details.causes`."""

    reason: str = ""
    message: str = ""
    field: str = ""


class APIError(KubeError):
    """Raised by the client when the server answered with a status code of 400 or more.

    `code` is the HTTP status, `reason` and `causes` are those of the Status object in the body; `structured`
    is False when the body was no Status object (then something other than the API server may have answered).
    `retry_after` is the server's wish in seconds, or None.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        causes: tuple[Cause, ...] = (),
        retry_after: float | None = None,
        structured: bool = True,
    ) -> None:
        super().__init__(f"{code} {reason}: {message}" if reason else f"{code}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.causes = causes
        self.retry_after = retry_after
        self.structured = structured

    @property
    def refused(self) -> bool:
        """Whether the server itself said no, for certain: a 4xx (not 408) with a Status body.

        Anything else, a 5xx above all, leaves a write's outcome unknown.
        """
        return 400 <= self.code < 500 and self.code != 408 and self.structured

    @property
    def gone(self) -> bool:
        """Whether the server itself said that the object, the one of the UID that was asked for, is no more.

        A 404 without a Status body doesn't say so: it may come from a proxy.
        """
        return self.refused and (self.code == 404 or self.blames("metadata.uid"))

    def blames(self, field: str) -> bool:
        """Whether one of the causes names `field`, e.g. "metadata.uid" or "spec.podCIDRs"."""
        return any(cause.field == field for cause in self.causes)


class TerminalError(KubeError):
    """Raised by a reconciler to say that retrying can't help: it is logged and counted, and not retried.

    The key is looked at again when something about it changes.
    """


class LeadershipLost(KubeError):
    """Raised by `Lease.check()` once this term is over, and by the manager when the host asked to be told.

    Whoever catches it has lost the right to write: stop, and let the elector campaign again.
    """


class QueueShutDown(KubeError):
    """Raised by `WorkQueue.get()` once the queue was shut down and holds nothing more: the worker's end."""


class ListenError(KubeError):
    """Raised when starting the server for probes and metrics, when its address can't be bound."""
