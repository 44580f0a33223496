"""Replicas in their roles as leader and standby, and how they follow one another."""

from tests.e2e.audit import Term
from tests.e2e.conftest import Replicas
from tests.e2e.observer import Observer
from tests.e2e.replica import Replica

NAMESPACE = "--leader-elect-namespace=default"
SHORT_LEASE = 3.0
SHORT = (
    NAMESPACE,
    f"--leader-elect-lease-duration={SHORT_LEASE:g}s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=500ms",
)
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/node-ipam-controller"
RELEASED = "runtime.nodeipam/released"

AFTER_EXPIRY = 2.0
"""A killed leader is replaced within the lease duration and so many seconds."""
AFTER_RELEASE = 1.0
"""A leader that released the lock is replaced within so many seconds."""


async def start_leader(
    replicas: Replicas, observer: Observer, name: str, *flags: str, server: str | None = None
) -> Replica:
    """Start a replica as the user of its name, and wait until it has given all Nodes their ranges."""
    replica = replicas.start(name, *flags, user=name, server=server)
    await observer.wait_for(lambda seen: seen.assigned(), within=15.0, what=f"ranges, by {name}")
    return replica


async def start_standby(replicas: Replicas, name: str, *flags: str, server: str | None = None) -> Replica:
    """Start a replica as the user of its name, and wait until it has seen who holds the lock."""
    replica = replicas.start(name, *flags, user=name, server=server)
    await replica.ready()
    await replica.logs("the lock changed hands")
    return replica


def check_fenced(term: Term) -> None:
    """A term gave no range before the last Node was fenced."""
    assert term.fences
    assert term.assigns
    assert max(entry.answered for entry in term.fences) <= min(entry.received for entry in term.assigns)


def check_succession(terms: list[Term], *, leader: str) -> Term:
    """The leader wrote, then one other, and nobody else ever did; returns the other's term."""
    assert 2 == len(terms), terms
    assert leader == terms[0].user
    return terms[1]
