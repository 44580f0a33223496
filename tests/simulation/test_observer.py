"""What must never happen is noticed: each violation is fabricated, by requests that nobody should send."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nodeipam.runtime import Call
from nodeipam.testing import APIServer
from nodeipam.testing.apiserver import Reply

from .observer import LEASES, NODES, POOLS, Observer, Writer, span, uses

DEADLINE = 10.0
LEASE = "/apis/coordination.k8s.io/v1/namespaces/nodeipam/leases"
POOL = "/apis/networking.x-k8s.io/v1/clustercidrs"


class Fabricated:
    """A server and its observer, and a clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.server = APIServer()
        self.server.register(
            "networking.x-k8s.io/v1", "ClusterCIDR", "clustercidrs", namespaced=False, status=True
        )
        self.server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nodeipam"}})
        self.observer = Observer(self.server, now=lambda: self.now)
        self.add_pool("every", "10.0.0.0/16", finalizers=["example.com/kept"])
        self.seen: set[tuple[str, str]] = set()
        """Process and Node: whose ranges it has in its cache."""
        self.serving = ["10.0.0.0/16"]

    def process(self, name: str) -> Writer:
        """One that has just been elected."""
        writer = Writer(
            name,
            place=name,
            elapsed=lambda: self.now,
            deadline=DEADLINE,
            knows=lambda node, _: (name, node) in self.seen,
            serving=lambda: self.serving,
        )
        self.observer.began(writer)
        self.renew(writer)
        return writer

    def renew(self, writer: Writer, *, takes: float = 0.0) -> None:
        """Write the Lease, which arrives after so many seconds."""
        minutes, seconds = divmod(self.now, 60)
        now = f"2026-01-01T00:{minutes:02.0f}:{seconds:09.6f}Z"
        spec = {"holderIdentity": f"{writer.name}_0", "renewTime": now}
        found = self.server.objects(LEASES)
        metadata = found[0]["metadata"] if found else {"name": "lock"}
        method, path = ("PUT", f"{LEASE}/lock") if found else ("POST", LEASE)
        self.send(writer, method, path, {"metadata": metadata, "spec": spec}, takes=takes)

    def send(self, writer: Writer, method: str, path: str, body: Any = None, *, takes: float = 0.0) -> None:
        """Send a request, and have it carried out after so many seconds."""
        self.sent(writer, method, path, body)
        self.now += takes
        reply = self.server.handle(_call(method, path, body), writer.place)
        assert isinstance(reply, Reply)
        assert 200 <= reply.status < 300, reply.body

    def sent(self, writer: Writer, method: str, path: str, body: Any = None) -> None:
        """Send a request that is lost."""
        self.observer.sent(writer, _call(method, path, body))

    def join(self, name: str, *cidrs: str, **metadata: Any) -> None:
        """Add a Node, with ranges that somebody gave it."""
        spec = {"podCIDR": cidrs[0], "podCIDRs": cidrs} if cidrs else {}
        self.server.put(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, **metadata}, "spec": spec}
        )

    def give(self, writer: Writer, node: str, *cidrs: str) -> None:
        """Give a Node ranges."""
        self.send(writer, "PATCH", f"/api/v1/nodes/{node}", self.patch(node, *cidrs))

    def offer(self, writer: Writer, node: str, *cidrs: str) -> None:
        """Try to, and be lost."""
        self.sent(writer, "PATCH", f"/api/v1/nodes/{node}", self.patch(node, *cidrs))

    def patch(self, node: str, *cidrs: str) -> Any:
        """A body that gives a Node ranges."""
        found = {each["metadata"]["name"]: each["metadata"] for each in self.server.nodes()}.get(node, {})
        metadata = {key: found.get(key, "0") for key in ("uid", "resourceVersion")}
        return {"metadata": metadata, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}

    def add_pool(self, name: str, ipv4: str, **metadata: Any) -> None:
        """Add a ClusterCIDR."""
        self.server.put(
            {
                "apiVersion": "networking.x-k8s.io/v1",
                "kind": "ClusterCIDR",
                "metadata": {"name": name, **metadata},
                "spec": {"ipv4": ipv4, "perNodeHostBits": 4},
            }
        )

    @property
    def found(self) -> list[str]:
        """The violations, without their times."""
        return [f"{what.partition(' ')[0]}: {what.partition(': ')[2]}" for what in self.observer.violations]


def _call(method: str, path: str, body: Any) -> Call:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    return Call(
        method=method,
        path=path,
        headers={"Content-Type": kind},
        body=msgspec.json.encode(body) if body else None,
        timeout=1.0,
    )


@pytest.fixture
def w() -> Fabricated:
    """A cluster in which nothing has happened yet."""
    return Fabricated()


def test_what_is_right(w: Fabricated) -> None:
    """A leader that gives each Node a range of its own, from a pool in service, in time, violates nothing."""
    a = w.process("a")
    w.join("n")
    w.join("m")
    w.give(a, "n", "10.0.0.16/28")
    w.now = DEADLINE
    w.give(a, "m", "10.0.0.32/28")
    assert [] == w.found
    assert 2 == w.observer.assigned


class TestI1:
    def test_a_range_twice(self, w: Fabricated) -> None:
        """A range that overlaps one that was given to another Node is noticed."""
        a = w.process("a")
        w.join("n")
        w.join("m")
        w.give(a, "n", "10.0.0.16/28")
        w.give(a, "m", "10.0.0.0/16")
        assert "I1: a gave m 10.0.0.0/16, and n has 10.0.0.16/28" in w.found

    def test_a_range_of_a_node_that_went(self, w: Fabricated) -> None:
        """A range whose Node is gone may be given again."""
        a = w.process("a")
        w.join("n")
        w.join("m")
        w.give(a, "n", "10.0.0.16/28")
        w.server.delete(NODES, "n")
        w.give(a, "m", "10.0.0.16/28")
        assert [] == w.found

    def test_the_service_range(self, w: Fabricated) -> None:
        """A range that is never to be handed out is noticed."""
        a = w.process("a")
        w.join("n")
        w.give(a, "n", "10.0.0.8/29")
        assert ["I1: a gave n 10.0.0.8/29, of the service range 10.0.0.0/28"] == w.found

    def test_a_node_that_is_being_deleted(self, w: Fabricated) -> None:
        """A Node that goes is given nothing any more."""
        a = w.process("a")
        w.join("n", finalizers=["example.com/pinned"])
        w.server.delete(NODES, "n")
        w.give(a, "n", "10.0.0.16/28")
        assert ["I1: a gave n 10.0.0.16/28 while it was being deleted"] == w.found

    def test_a_foreign_range_from_before(self, w: Fabricated) -> None:
        """What others gave before a leader's term, it has to know: its list shows it."""
        w.join("theirs", "10.0.0.16/28")
        w.join("n")
        w.now = 1.0
        w.offer(w.process("a"), "n", "10.0.0.16/28")
        assert ["I1: a offers n 10.0.0.16/28, and knows that theirs has 10.0.0.16/28"] == w.found

    @pytest.mark.parametrize("seen", [True, False])
    def test_a_foreign_range_from_within(self, w: Fabricated, seen: bool) -> None:  # noqa: FBT001
        """What others gave during its term, it has to know once it has seen it, and can't before."""
        a = w.process("a")
        w.now = 1.0
        w.join("n")
        w.join("theirs", "10.0.0.16/28")
        w.seen = {("a", "theirs")} if seen else set()
        w.give(a, "n", "10.0.0.16/28")
        expected = ["I1: a offers n 10.0.0.16/28, and knows that theirs has 10.0.0.16/28"]
        assert (expected if seen else []) == w.found

    def test_a_renewal_is_no_election(self, w: Fabricated) -> None:
        """A term begins when the Lease changes hands, so a renewal doesn't make a leader know more."""
        a = w.process("a")
        w.now = 1.0
        w.join("n")
        w.join("theirs", "10.0.0.16/28")
        w.now = 2.0
        w.renew(a)
        w.give(a, "n", "10.0.0.16/28")
        assert [] == w.found


class TestI2:
    @pytest.mark.parametrize("cidrs", [("10.0.0.32/28",), ()])
    def test_a_range_that_changes(self, w: Fabricated, cidrs: tuple[str, ...]) -> None:
        """Ranges that change, or go, are noticed."""
        a = w.process("a")
        w.join("n")
        w.give(a, "n", "10.0.0.16/28")
        w.join("n", *cidrs)
        assert [f"I2: n had 10.0.0.16/28 and has {', '.join(cidrs)}"] == w.found

    @pytest.mark.parametrize("seen", [True, False])
    def test_trying_to(self, w: Fabricated, seen: bool) -> None:  # noqa: FBT001
        """A leader that tries to change ranges that it has seen is noticed, though the server refuses."""
        w.join("n", "10.0.0.16/28")
        w.seen = {("a", "n")} if seen else set()
        w.offer(w.process("a"), "n", "10.0.0.32/28")
        expected = ["I2: a sends PATCH /api/v1/nodes/n though it has seen that n has ranges"]
        assert (expected if seen else []) == w.found


class TestI3:
    def test_no_pool(self, w: Fabricated) -> None:
        """A block of a pool that the process knows to be gone is noticed; one offered again isn't."""
        a = w.process("a")
        w.join("n")
        w.offer(a, "n", "10.0.0.16/28")
        w.serving = []
        w.offer(a, "n", "10.0.0.16/28")
        assert [] == w.found
        w.offer(a, "n", "10.0.0.32/28")
        assert ["I3: a takes 10.0.0.32/28 for n from no pool that is in service"] == w.found

    def test_a_pool_that_goes(self, w: Fabricated) -> None:
        """A pool that goes while a Node uses it is noticed, unless another one covers the Node."""
        a = w.process("a")
        w.join("n")
        w.add_pool("p", "10.0.0.0/24")
        w.add_pool("q", "10.0.0.0/25")
        w.give(a, "n", "10.0.0.16/28")
        w.server.put({**w.server.get(POOLS, "every"), "metadata": {"name": "every"}})
        w.server.delete(POOLS, "every")
        w.send(a, "DELETE", f"{POOL}/q")
        assert [] == w.found
        w.send(a, "DELETE", f"{POOL}/p")
        assert ["I3: a let p go, and n uses it"] == w.found
        assert [] == w.server.objects(POOLS)


class TestI9:
    def test_a_lease_that_ran_out(self, w: Fabricated) -> None:
        """A write after the lease's validity is noticed; another renewal would have made it right."""
        a = w.process("a")
        w.join("n")
        w.now = DEADLINE + 0.5
        w.offer(a, "n", "10.0.0.16/28")
        expected = ["I9: a sends PATCH /api/v1/nodes/n 0.500 s after its lease ran out"]
        assert expected == w.found
        w.renew(a)
        w.offer(a, "n", "10.0.0.16/28")
        assert expected == w.found

    def test_a_renewal_that_takes_long(self, w: Fabricated) -> None:
        """The lease is valid from when its renewal was sent, not from when it arrived."""
        a = w.process("a")
        w.now = 1.0
        w.renew(a, takes=5.0)
        w.now = 1.0 + DEADLINE + 0.5
        w.sent(a, "PATCH", "/api/v1/nodes/n", {})
        assert ["I9: a sends PATCH /api/v1/nodes/n 0.500 s after its lease ran out"] == w.found

    def test_a_renewal_that_is_lost(self, w: Fabricated) -> None:
        """A renewal that the server hasn't carried out gives no right to write."""
        a = w.process("a")
        w.now = 5.0
        w.sent(a, "PUT", f"{LEASE}/lock", {"spec": {"renewTime": "2026-01-01T00:00:05.000000Z"}})
        w.now = DEADLINE + 0.5
        w.sent(a, "PATCH", f"{POOL}/p", {})
        assert [
            "I9: a sends PATCH /apis/networking.x-k8s.io/v1/clustercidrs/p 0.500 s after its lease ran out"
        ] == (w.found)

    def test_what_is_exempt(self, w: Fabricated) -> None:
        """Reading, the Lease and Events are free to everybody at any time."""
        a = w.process("a")
        w.now = DEADLINE + 5.0
        w.sent(a, "GET", "/api/v1/nodes")
        w.sent(a, "PUT", f"{LEASE}/lock", {})
        w.sent(a, "POST", "/apis/events.k8s.io/v1/namespaces/default/events", {})
        assert [] == w.found

    def test_a_predecessor(self, w: Fabricated) -> None:
        """A leader that goes on when a later one has begun to give out ranges is noticed, lease or not."""
        a = w.process("a")
        w.join("n")
        w.now = 1.0
        b = w.process("b")
        w.offer(a, "n", "10.0.0.16/28")
        w.offer(b, "n", "10.0.0.32/28")
        assert [] == w.found
        w.offer(a, "n", "10.0.0.16/28")
        assert ["I9: a sends PATCH /api/v1/nodes/n, and b, elected later, has begun to"] == w.found


class TestRestore:
    def test_what_it_forgot(self, w: Fabricated) -> None:
        """What was given after the backup has never been; and who comes to know of it when, is open."""
        a = w.process("a")
        w.join("n")
        w.join("m")
        backup = w.server.backup()
        w.give(a, "n", "10.0.0.16/28")
        w.server.restore(backup, bump=1000)
        w.observer.restored()
        w.give(a, "m", "10.0.0.16/28")
        w.give(a, "n", "10.0.0.16/28")
        assert [] == w.found

    def test_when_it_is_over(self, w: Fabricated) -> None:
        """A while later all is as it was: an overlap is noticed."""
        w.join("n")
        w.join("m")
        w.server.restore(w.server.backup(), bump=1000)
        w.observer.restored()
        w.now = 200.0
        a = w.process("a")
        w.give(a, "m", "10.0.0.16/28")
        w.give(a, "n", "10.0.0.16/28")
        assert ["I1: a gave n 10.0.0.16/28, and m has 10.0.0.16/28"] == w.found


@pytest.mark.parametrize(
    "held, expected",
    [
        (("10.0.0.16/28", "fd00::10/124"), True),
        (("10.0.0.16/28",), False),
        (("10.0.0.16/29", "fd00::10/124"), False),
        (("10.0.1.16/28", "fd00::10/124"), False),
        ((), False),
    ],
)
def test_uses(held: tuple[str, ...], expected: bool) -> None:  # noqa: FBT001
    """A Node uses a pool if it has a block of its size in each of its ranges."""
    assert expected == uses(
        {"spec": {"ipv4": "10.0.0.0/24", "ipv6": "fd00::/120", "perNodeHostBits": 4}}, held
    )


@pytest.mark.parametrize(
    "one, other, overlaps, within",
    [
        ("10.0.0.0/28", "10.0.0.0/24", True, True),
        ("10.0.0.0/24", "10.0.0.0/28", True, False),
        ("10.0.0.0/28", "10.0.0.16/28", False, False),
        ("0.0.0.0/0", "::/0", False, False),
    ],
)
def test_spans(one: str, other: str, overlaps: bool, within: bool) -> None:  # noqa: FBT001
    """Addresses are compared as numbers of one family."""
    assert (overlaps, within) == (span(one).overlaps(span(other)), span(one).within(span(other)))


class TestPreconditions:
    @pytest.mark.parametrize("field", ["uid", "resourceVersion"])
    def test_missing(self, w: Fabricated, field: str) -> None:
        """A write of ranges that lacks a precondition is noticed."""
        a = w.process("a")
        w.join("n")
        body = w.patch("n", "10.0.0.16/28")
        del body["metadata"][field]
        w.sent(a, "PATCH", "/api/v1/nodes/n", body)
        assert [f"I1: a sends PATCH /api/v1/nodes/n without its {field}"] == w.found

    def test_no_finalizer(self, w: Fabricated) -> None:
        """A range from a pool that nothing keeps from going is noticed."""
        a = w.process("a")
        w.join("n")
        w.add_pool("bare", "10.1.0.0/16")
        w.serving = ["10.1.0.0/16"]
        w.offer(a, "n", "10.1.0.16/28")
        assert ["I3: a takes 10.1.0.16/28 for n from a pool without a finalizer"] == w.found
