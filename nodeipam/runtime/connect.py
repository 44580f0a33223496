"""One line to a client: in a cluster by the Pod's service account, elsewhere by a kubeconfig."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from .client import Client
from .clock import Clock, Rng, SystemClock, system_rng
from .credentials import Anonymous, Credentials, from_configuration, in_cluster, is_in_cluster
from .errors import ConfigurationError
from .http import HTTPTransport
from .kubeconfig import from_kubeconfig, kubeconfig_exists
from .metrics import Metrics
from .ratelimit import TokenBucket

__all__ = ["connect"]


@asynccontextmanager
async def connect(
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    server: str | None = None,
    configuration: Any = None,
    user_agent: str = "nodeipam",
    timeout: float = 30.0,
    qps: float | None = None,
    burst: int | None = None,
    metrics: Metrics | None = None,
    clock: Clock | None = None,
    rng: Rng | None = None,
) -> AsyncIterator[Client]:
    """A client for as long as the context is open. Leaving it closes every connection, so end the work first.

    Where `kubeconfig` (a path), `context` or `server` (an address, in place of the kubeconfig's) is given, a
    kubeconfig is used; else the service account, in a Pod that has one; else the kubeconfig that $KUBECONFIG
    or ~/.kube/config names. A `server` without any kubeconfig is talked to anonymously. `configuration` is a
    `kubernetes_asyncio` Configuration or ApiClient that you have already, and is used instead of all that.

    `timeout` is in seconds for each request. `qps` limits requests per second, with `burst` (default: twice
    `qps`) at once; off by default, since the server's priority and fairness decides better.

    Raises:
        CredentialsError: there is no usable server or identity; nothing was sent.
        ConfigurationError: the arguments contradict each other.
    """
    limiter = _limiter(qps, burst)
    if configuration is not None and (kubeconfig or context or server):
        raise ConfigurationError(
            "connect() takes a configuration, or kubeconfig, context and server, not both"
        )
    if configuration is not None:
        credentials = from_configuration(configuration)
    else:
        credentials = await _found(kubeconfig, context, server)
    async with HTTPTransport(credentials, user_agent=user_agent) as transport:
        yield Client(
            transport,
            clock=clock or SystemClock(),
            rng=rng or system_rng(),
            metrics=metrics,
            timeout=timeout,
            limiter=limiter,
        )


async def _found(kubeconfig: str | None, context: str | None, server: str | None) -> Credentials:
    if not (kubeconfig or context or server) and is_in_cluster():
        return in_cluster()
    if server and not kubeconfig and not context and not kubeconfig_exists():
        return Anonymous(server)
    return await from_kubeconfig(kubeconfig, context=context, server=server)


def _limiter(qps: float | None, burst: int | None) -> TokenBucket | None:
    if qps is None:
        if burst is not None:
            raise ConfigurationError(f"burst={burst} means nothing without qps")
        return None
    return TokenBucket(qps, max(1, round(2 * qps)) if burst is None else burst)
