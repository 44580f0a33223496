from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from nodeipam.runtime.client import Client
from nodeipam.runtime.errors import APIError, Cause, ConfigurationError, ProtocolError, TransportError
from nodeipam.runtime.metrics import Metrics
from nodeipam.runtime.objects import ObjectMeta, Request, Resource
from nodeipam.runtime.ratelimit import TokenBucket
from nodeipam.runtime.transport import Answer, Call
from nodeipam.testing.loop import VirtualClock, run_virtual


class Widget(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    size: int = 0


WIDGETS = Resource("example.com/v1", "Widget", plural="widgets", namespaced=True, type=Widget)
NODES = Resource("v1", "Node", plural="nodes", namespaced=False, type=dict)
ONE = Request("one", "here")


class Reply:
    """What the scripted server answers to one call."""

    def __init__(
        self,
        body: Any = b"{}",
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        chunk: int = 1 << 20,
        pause: float = 0.0,
        delay: float = 0.0,
        error: Exception | None = None,
    ) -> None:
        self.body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.status = status
        self.headers = CIMultiDict(headers or {"Content-Type": "application/json"})
        self.chunk = chunk
        self.pause = pause
        self.delay = delay
        self.error = error
        self.entered = False
        self.left = 0

    async def __aenter__(self) -> Answer:
        self.entered = True
        await asyncio.sleep(self.delay)
        if self.error is not None and self.status == 0:
            raise self.error
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left += 1

    async def read(self, limit: int) -> bytes:
        """At most a chunk, after a pause."""
        await asyncio.sleep(self.pause)
        size = min(limit, self.chunk)
        part, self.body = self.body[:size], self.body[size:]
        if not part and self.error is not None:
            raise self.error
        return part

    async def readline(self, limit: int) -> bytes:
        """The next line."""
        line, newline, self.body = self.body.partition(b"\n")
        return line + newline


class Script:
    """A transport that answers calls in order, or as a function says."""

    host = "api.example:6443"

    def __init__(self, *replies: Reply, choose: Callable[[Call], Reply] | None = None) -> None:
        self.replies = list(replies)
        self.choose = choose
        self.calls: list[Call] = []

    def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """The next reply."""
        self.calls.append(call)
        return self.choose(call) if self.choose else self.replies.pop(0)


def client(
    script: Script,
    *,
    limiter: TokenBucket | None = None,
    metrics: Metrics | None = None,
    timeout: float = 30.0,
) -> Client:
    """A client in virtual time."""
    return Client(
        script,
        clock=VirtualClock(),
        rng=random.Random(1),
        limiter=limiter,
        metrics=metrics,
        timeout=timeout,
    )


def widget(name: str = "one", **fields: Any) -> dict[str, Any]:
    """A Widget as the server sends it."""
    meta = {"name": name, "namespace": "here", "uid": f"uid-{name}", "resourceVersion": "7"}
    return {"kind": "Widget", "apiVersion": "example.com/v1", "metadata": meta, **fields}


PARTIAL = {
    "kind": "PartialObjectMetadata",
    "apiVersion": "meta.k8s.io/v1",
    "metadata": {"name": "one", "uid": "u-1", "resourceVersion": "8"},
}


def listed(*names: str, token: str = "", kind: str = "WidgetList", last: bool = False) -> bytes:
    """A page; with `last` its metadata stands at its end, as for custom resources."""
    meta = {"resourceVersion": "100", **({"continue": token, "remainingItemCount": 9} if token else {})}
    items = [{"metadata": {"name": name}} for name in names]
    page = {"kind": kind, "items": items, "metadata": meta}
    return msgspec.json.encode(page if last else {"kind": kind, "metadata": meta, "items": items})


def status(code: int, reason: str, message: str = "no", **details: Any) -> Reply:
    """A Status object."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
    return Reply({**body, "code": code, "details": details}, code)


class TestGet:
    def test_get(self) -> None:
        """An object is decoded into the resource's type; fields that it doesn't have are skipped."""
        script = Script(Reply(widget(size=3, color="red")))
        found = run_virtual(client(script).get(WIDGETS, ONE))
        assert (3, "uid-one") == (found.size, found.metadata.uid)
        sent = script.calls[0]
        assert ("GET", "/apis/example.com/v1/namespaces/here/widgets/one") == (sent.method, sent.path)
        assert ((), None, 30.0, None) == (sent.query, sent.body, sent.timeout, sent.idle)
        assert "application/json" == sent.headers["Accept"]

    def test_get_raw(self) -> None:
        """A raw read keeps every field."""
        full = widget(size=3, color="red")
        assert full == run_virtual(client(Script(Reply(full))).get_raw(WIDGETS, ONE))

    def test_small_pieces(self) -> None:
        """A body that arrives byte by byte is the same body."""
        found = run_virtual(client(Script(Reply(widget(size=3), chunk=1))).get(WIDGETS, ONE))
        assert 3 == found.size

    @pytest.mark.parametrize(
        "body, shown",
        [
            (b"<html>\n<title>Log in</title>", "'<html> <title>Log in</title>'"),
            (b"", "''"),
            (b'{"kind":"Widget","metadata":', '\'{"kind":"Widget","metadata":\''),
            (b'{"kind":"Widget","metadata":[]}', "Expected `object`"),
            (b'{"kind":"Widget","metadata":{"name":"\xff"}}', "answer was 200"),
            (b'{"kind":"Gadget","metadata":{}}', "a Widget was expected, not Gadget"),
            (b"x" * 200, "'" + "x" * 80 + "…'"),
            (b'{"kind":"Widget","spec":' + b"[" * 100_000, "maximum recursion depth exceeded"),
        ],
    )
    def test_not_the_object(self, body: bytes, shown: str) -> None:
        """A 200 that isn't the object is a ProtocolError with status, content type and how it begins."""
        script = Script(Reply(body, headers={"content-type": "text/html"}))
        with pytest.raises(ProtocolError) as caught:
            run_virtual(client(script).get(WIDGETS, ONE))
        text = str(caught.value)
        assert (True, True, True) == (shown in text, "200" in text, "text/html" in text)
        assert text.startswith("GET /apis/example.com/v1/namespaces/here/widgets/one: ")

    def test_too_long(self) -> None:
        """An object of more than 4 MiB is a ProtocolError, and not read to its end."""
        reply = Reply(b" " * 6_000_000)
        with pytest.raises(ProtocolError, match="longer than 4194304 bytes"):
            run_virtual(client(Script(reply)).get(WIDGETS, ONE))
        assert (True, 1) == (len(reply.body) > 1_000_000, reply.left)

    def test_timeout_is_validated(self) -> None:
        """A timeout of zero is refused with its value."""
        with pytest.raises(ConfigurationError, match="not 0"):
            client(Script(), timeout=0)


class TestErrors:
    def test_status(self) -> None:
        """A Status object becomes an APIError with reason, message and causes."""
        cause = {"reason": "FieldValueInvalid", "message": "is immutable", "field": "spec.podCIDRs"}
        script = Script(status(422, "Invalid", 'Node "a" is invalid', causes=[cause]))
        with pytest.raises(APIError) as caught:
            run_virtual(client(script).get(WIDGETS, ONE))
        error = caught.value
        assert (422, "Invalid", 'Node "a" is invalid') == (error.code, error.reason, error.message)
        assert (Cause("FieldValueInvalid", "is immutable", "spec.podCIDRs"),) == error.causes
        assert (True, True, True) == (error.structured, error.refused, error.blames("spec.podCIDRs"))
        assert error.retry_after is None

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"404 page not found",
            b'{"kind":"Pod"}',
            b"[]",
            b'{"kind":"Status","details":7}',
            b"\xff",
            b'{"kind":"Status","x":' + b"[" * 50_000,
        ],
    )
    def test_no_status(self, body: bytes) -> None:
        """An error without a Status object is an APIError that isn't structured, so nothing definite."""
        with pytest.raises(APIError, match="was answered with") as caught:
            run_virtual(client(Script(Reply(body, 404))).get(WIDGETS, ONE))
        assert (404, False, False) == (caught.value.code, caught.value.structured, caught.value.refused)

    def test_a_long_error_is_cut(self) -> None:
        """Of an endless error page no more than 64 KiB are read."""
        reply = Reply(b"x" * 10_000_000, 502, chunk=1000)
        with pytest.raises(APIError) as caught:
            run_virtual(client(Script(reply)).get(WIDGETS, ONE))
        assert (502, True, True) == (
            caught.value.code,
            len(reply.body) > 9_900_000,
            len(str(caught.value)) < 300,
        )

    @pytest.mark.parametrize(
        "header, seconds",
        [
            ("7", 7.0),
            ("0", 0.0),
            ("-3", 0.0),
            ("1.5", 1.5),
            ("86400", 300.0),
            ("inf", 300.0),
            ("nan", None),
            ("soon", None),
            ("", None),
            ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
            ("Thu, 01 Jan 2026 00:00:30 -0000", 30.0),
            ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
            ("Fri, 02 Jan 2026 00:00:00 GMT", 300.0),
        ],
    )
    def test_retry_after(self, header: str, seconds: float | None) -> None:
        """Retry-After is seconds or a date, never negative, and not believed beyond five minutes."""
        script = Script(Reply(b"", 429, headers={"retry-after": header}))
        with pytest.raises(APIError) as caught:
            run_virtual(client(script).get(WIDGETS, ONE))
        assert seconds == caught.value.retry_after

    def test_retry_after_in_the_details(self) -> None:
        """Without the header the Status object's retryAfterSeconds counts."""
        with pytest.raises(APIError) as caught:
            run_virtual(client(Script(status(504, "Timeout", retryAfterSeconds=5))).get(WIDGETS, ONE))
        assert 5.0 == caught.value.retry_after

    def test_redirect(self) -> None:
        """A redirect is a ProtocolError that names its target without the query."""
        headers = {"Location": "https://sso.example/login?state=secret"}
        with pytest.raises(ProtocolError, match=r"redirects to https://sso.example/login, ") as caught:
            run_virtual(client(Script(Reply(b"", 302, headers=headers))).get(WIDGETS, ONE))
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("code", [101, 304, 199])
    def test_odd_codes(self, code: int) -> None:
        """Any other status that is no success is a ProtocolError."""
        with pytest.raises(ProtocolError, match=str(code)):
            run_virtual(client(Script(Reply(b"", code))).get(WIDGETS, ONE))

    def test_the_exchange_is_left(self) -> None:
        """After an error the exchange is left, once, so that its connection is free."""
        reply = status(404, "NotFound")
        with pytest.raises(APIError):
            run_virtual(client(Script(reply)).get(WIDGETS, ONE))
        assert 1 == reply.left


class TestWrites:
    def test_patch(self) -> None:
        """A patch is a merge patch with the preconditions in it, a timeout, and metadata as answer."""
        script = Script(Reply(PARTIAL))
        body = {"metadata": {"labels": {"a": "b"}}, "status": {"ready": True}}
        found = run_virtual(
            client(script).patch(WIDGETS, ONE, body, subresource="status", uid="u-1", resource_version="5")
        )
        sent = script.calls[0]
        assert ("PATCH", "/apis/example.com/v1/namespaces/here/widgets/one/status") == (
            sent.method,
            sent.path,
        )
        assert (("timeout", "30s"),) == sent.query
        assert "application/merge-patch+json" == sent.headers["Content-Type"]
        assert sent.headers["Accept"].startswith("application/json;as=PartialObjectMetadata;")
        expected = {
            "metadata": {"labels": {"a": "b"}, "uid": "u-1", "resourceVersion": "5"},
            "status": {"ready": True},
        }
        assert expected == msgspec.json.decode(sent.body or b"")
        assert {"metadata": {"labels": {"a": "b"}}, "status": {"ready": True}} == body
        assert "8" == found.metadata.resource_version

    def test_patch_without_preconditions(self) -> None:
        """Without preconditions a patch is sent as it is."""
        script = Script(Reply(PARTIAL))
        run_virtual(client(script).patch(NODES, Request("n"), {"spec": {"x": None}}))
        assert (b'{"spec":{"x":null}}', "/api/v1/nodes/n") == (script.calls[0].body, script.calls[0].path)

    def test_create(self) -> None:
        """An object is created in its namespace's collection."""
        script = Script(Reply(PARTIAL, 201))
        found = run_virtual(client(script).create(WIDGETS, widget(), namespace="here"))
        sent = script.calls[0]
        assert ("POST", "/apis/example.com/v1/namespaces/here/widgets") == (sent.method, sent.path)
        assert ("application/json", "one") == (sent.headers["Content-Type"], found.metadata.name)

    def test_update(self) -> None:
        """An object is replaced by PUT."""
        script = Script(Reply(PARTIAL))
        run_virtual(client(script, timeout=1.2).update(WIDGETS, ONE, widget(size=4)))
        sent = script.calls[0]
        assert ("PUT", widget(size=4)) == (sent.method, msgspec.json.decode(sent.body or b""))
        assert ((("timeout", "2s"),), 1.2) == (sent.query, sent.timeout)

    def test_delete(self) -> None:
        """A deletion carries its preconditions as DeleteOptions, whatever is answered."""
        script = Script(Reply({"kind": "Status", "status": "Success", "metadata": {}}), Reply(widget()))
        run_virtual(client(script).delete(WIDGETS, ONE, uid="u-1", resource_version="5"))
        run_virtual(client(script).delete(WIDGETS, ONE))
        options = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = {"uid": "u-1", "resourceVersion": "5"}
        assert [{**options, "preconditions": preconditions}, options] == [
            msgspec.json.decode(call.body or b"") for call in script.calls
        ]

    def test_html_for_an_answer(self) -> None:
        """A write that is answered with a web page has an unknown outcome."""
        with pytest.raises(ProtocolError, match="html"):
            run_virtual(client(Script(Reply(b"<html>"))).patch(NODES, Request("n"), {}))

    @pytest.mark.parametrize(
        "metadata",
        [
            {},
            {"uid": "u-1"},
            {"resourceVersion": "8"},
            *({"uid": "u-1", "resourceVersion": v} for v in "a-²"),
        ],
    )
    def test_a_success_without_a_version(self, metadata: dict[str, str]) -> None:
        """A success that names no UID, or no version that is a number, leaves a write's outcome unknown."""
        reply = {"kind": "PartialObjectMetadata", "metadata": metadata}
        asked = client(Script(*(Reply(reply) for _ in range(3))))
        for write in (
            asked.create(WIDGETS, {}, namespace="here"),
            asked.update(WIDGETS, ONE, {}),
            asked.patch(WIDGETS, ONE, {}),
        ):
            with pytest.raises(ProtocolError, match="which version"):
                run_virtual(write)

    def test_the_body_is_made_when_it_is_sent(self) -> None:
        """A body function is called after the limiter, in the step in which the transport is called."""
        steps: list[str] = []

        class Noting(Script):
            def open(self, call: Call) -> AbstractAsyncContextManager[Answer]:
                steps.append("open")
                return super().open(call)

        def body() -> dict[str, Any]:
            steps.append(f"body at {asyncio.get_running_loop().time():g}")
            asyncio.get_running_loop().call_soon(steps.append, "something else ran")
            return {"spec": {}}

        async def main() -> None:
            limiter = TokenBucket(1.0, 1)
            limiter.reserve(0.0)
            await client(Noting(Reply(PARTIAL)), limiter=limiter).patch(NODES, Request("n"), body, uid="u")

        run_virtual(main())
        assert ["body at 1", "open", "something else ran"] == steps

    def test_a_body_that_raises(self) -> None:
        """What a body function raises comes to the caller, and nothing is sent."""
        script = Script()

        def lost() -> dict[str, Any]:
            raise LookupError("lease")

        for write in (client(script).patch, client(script).update):
            with pytest.raises(LookupError, match="lease"):
                run_virtual(write(NODES, Request("n"), lost))
        assert [] == script.calls


class TestLimiter:
    def test_calls_wait_in_line(self) -> None:
        """Every call takes a token and waits for it; a client without the limit doesn't."""

        async def main() -> list[float]:
            script = Script(choose=lambda _: Reply(widget()))
            limited = client(script, limiter=TokenBucket(2.0, 1))
            times = []
            for each in (limited, limited, limited, limited.unlimited()):
                await each.get(WIDGETS, ONE)
                times.append(asyncio.get_running_loop().time())
            return times

        assert [0.0, 0.5, 1.0, 1.0] == run_virtual(main())

    def test_unlimited(self) -> None:
        """A client without a limiter is its own unlimited one."""
        free = client(Script())
        assert free is free.unlimited()


async def all_pages(pages: Any) -> list[Any]:
    """The pages of a list, and the end of it."""
    async with pages:
        found = []
        while (page := await pages.next()) is not None:
            found.append(page)
        assert await pages.next() is None
        return found


def names(pages: list[Any]) -> list[list[str]]:
    """The names on each page."""
    return [[item.metadata.name for item in page.items] for page in pages]


class TestPages:
    @pytest.mark.parametrize("last", [False, True], ids=["metadata first", "metadata last"])
    def test_all_pages(self, last: bool) -> None:  # noqa: FBT001
        """Pages come in order, wherever their metadata stands."""
        script = Script(
            Reply(listed("a", "b", token="t1", last=last)),
            Reply(listed("c", token="t2", last=last)),
            Reply(listed(last=last)),
        )
        found = run_virtual(
            all_pages(client(script).pages(WIDGETS, namespace="here", label_selector="x=y", limit=2))
        )
        assert [["a", "b"], ["c"], []] == names(found)
        assert [("100", "t1", 9), ("100", "t2", 9), ("100", "", None)] == [
            (page.resource_version, page.continue_, page.remaining) for page in found
        ]
        selected = (("limit", "2"), ("labelSelector", "x=y"))
        assert [(), (("continue", "t1"),), (("continue", "t2"),)] == [c.query[2:] for c in script.calls]
        assert {selected} == {call.query[:2] for call in script.calls}

    def test_null_items(self) -> None:
        """An empty list may have null for items, as Go writes it."""
        script = Script(Reply(b'{"kind":"WidgetList","metadata":{"resourceVersion":"1"},"items":null}'))
        assert [[]] == names(run_virtual(all_pages(client(script).pages(WIDGETS))))

    def test_metadata_only(self) -> None:
        """Metadata is asked for as PartialObjectMetadataList."""
        script = Script(Reply(listed("a", kind="PartialObjectMetadataList", token="t")), Reply(listed("b")))
        assert [["a"], ["b"]] == names(run_virtual(all_pages(client(script).pages_metadata(WIDGETS))))
        assert script.calls[0].headers["Accept"].startswith("application/json;as=PartialObjectMetadataList;")

    @pytest.mark.parametrize("body", [listed("a", kind="GadgetList"), b"{}", widget(), b"<html>", b"[]"])
    def test_not_the_list(self, body: Any) -> None:
        """A page of another kind, or none at all, is a ProtocolError."""
        with pytest.raises(ProtocolError):
            run_virtual(all_pages(client(Script(Reply(body))).pages(WIDGETS)))

    def test_prefetch(self) -> None:
        """The next page is asked for while this one is still arriving."""

        async def main() -> list[float]:
            began = []

            def choose(call: Call) -> Reply:
                began.append(asyncio.get_running_loop().time())
                token = f"t{len(began)}" if len(began) < 3 else ""
                return Reply(listed(*"abcdefgh", token=token), chunk=100, pause=1.0)

            assert 3 == len(await all_pages(client(Script(choose=choose)).pages(WIDGETS)))
            return began

        first, second, third = run_virtual(main())
        assert (0.0, 1.0) == (first, second)
        assert third < 6.0

    def test_one_ahead_at_most(self) -> None:
        """While nobody asks for the second page, the third isn't fetched."""

        async def main() -> list[int]:
            script = Script(choose=lambda _: Reply(listed("a", token=f"t{len(script.calls)}")))
            async with client(script).pages(WIDGETS) as pages:
                counts = [len(script.calls)]
                for _ in range(3):
                    await pages.next()
                    await asyncio.sleep(100)
                    counts.append(len(script.calls))
            return counts

        assert [0, 2, 3, 4] == run_virtual(main())

    def test_leaving_ends_everything(self) -> None:
        """Leaving early cancels the prefetch and awaits its end; the exchange is left."""

        async def main() -> int:
            replies = [Reply(listed("a", token="t")), Reply(listed("b"), pause=1e6)]
            script = Script(*replies)
            async with client(script).pages(WIDGETS) as pages:
                await pages.next()
                await asyncio.sleep(1)
            assert 1 == len(asyncio.all_tasks())
            return replies[1].left

        assert 1 == run_virtual(main())

    def test_a_failed_prefetch_that_nobody_wants(self) -> None:
        """The error of a page that isn't asked for any more is dropped in silence."""

        async def main() -> None:
            script = Script(Reply(listed("a", token="t")), status(410, "Expired"))
            async with client(script).pages(WIDGETS) as pages:
                await pages.next()
                await asyncio.sleep(1)

        run_virtual(main())

    def test_expired(self) -> None:
        """A token that has expired is an APIError 410, and the list is over."""

        async def main() -> tuple[int, object]:
            script = Script(Reply(listed("a", token="t")), status(410, "Expired"))
            async with client(script).pages(WIDGETS) as pages:
                await pages.next()
                with pytest.raises(APIError) as caught:
                    await pages.next()
                return caught.value.code, await pages.next()

        assert (410, None) == run_virtual(main())

    def test_a_cancelled_next_loses_nothing(self) -> None:
        """After a next() that ran out of time the following one returns that page."""

        async def main() -> list[list[str]]:
            script = Script(Reply(listed("a", token="t"), delay=5.0), Reply(listed("b")))
            async with client(script).pages(WIDGETS) as pages:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await pages.next()
                return names([await pages.next(), await pages.next()])

        assert [["a"], ["b"]] == run_virtual(main())

    def test_a_page_that_follows_itself(self) -> None:
        """A server that repeats a token for ever is a ProtocolError, not an endless list."""
        script = Script(choose=lambda _: Reply(listed("a", token="again")))
        with pytest.raises(ProtocolError, match="followed by itself"):
            run_virtual(all_pages(client(script).pages(WIDGETS)))

    def test_text_that_looks_like_a_token(self) -> None:
        """What looks like a token inside of an item isn't taken for one."""
        item = {"metadata": {"name": "a", "labels": {"continue": "x"}}}
        body = {"kind": "WidgetList", "metadata": {"resourceVersion": "1"}, "items": [item]}
        script = Script(Reply(body, chunk=7))
        assert [["a"]] == names(run_virtual(all_pages(client(script).pages(WIDGETS))))
        assert 1 == len(script.calls)


class TestWatch:
    def test_watch(self) -> None:
        """A watch asks for bookmarks from a version on, and yields lines until it ends."""
        script = Script(Reply(b'{"a":1}\n\n \n{"b":2}\n{"c"'))

        async def main() -> list[bytes | None]:
            async with client(script).watch(
                WIDGETS, resource_version="5", timeout_seconds=200, idle=210.0, field_selector="a=b"
            ) as stream:
                return [await stream.next() for _ in range(4)]

        assert [b'{"a":1}\n', b'{"b":2}\n', b'{"c"', None] == run_virtual(main())
        sent = script.calls[0]
        expected = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": "5",
            "timeoutSeconds": "200",
            "fieldSelector": "a=b",
        }
        assert expected == dict(sent.query)
        assert (30.0, 210.0) == (sent.timeout, sent.idle)

    def test_watch_list(self) -> None:
        """A streamed list asks for the initial events."""
        script = Script(Reply(b""))

        async def main() -> bytes | None:
            async with client(script).watch(
                WIDGETS, resource_version="", timeout_seconds=200, idle=210.0, send_initial_events=True
            ) as stream:
                return await stream.next()

        assert run_virtual(main()) is None
        query = dict(script.calls[0].query)
        assert ("true", "NotOlderThan") == (query["sendInitialEvents"], query["resourceVersionMatch"])

    def test_gone(self) -> None:
        """A watch that is refused raises where it is opened, and its exchange is left."""
        reply = status(410, "Expired")

        async def main() -> None:
            async with client(Script(reply)).watch(
                WIDGETS, resource_version="5", timeout_seconds=200, idle=210.0
            ):
                pytest.fail("it was opened")

        with pytest.raises(APIError, match="410"):
            run_virtual(main())
        assert 1 == reply.left


class TestMetrics:
    def test_codes_and_durations(self) -> None:
        """Answers are counted by code, their absence as <error>, and durations observed."""
        metrics = Metrics()
        unreachable = Reply(status=0, error=TransportError("refused"))
        broken = Reply(b"{", error=TransportError("broke off"))
        script = Script(Reply(widget()), status(404, "NotFound"), unreachable, broken, Reply(PARTIAL))
        one = client(script, metrics=metrics)

        async def main() -> None:
            await one.get(WIDGETS, ONE)
            for error in (APIError, TransportError, TransportError):
                with pytest.raises(error):
                    await one.get(WIDGETS, ONE)
            await one.patch(WIDGETS, ONE, {})

        run_virtual(main())

        def count(code: str, method: str) -> float | None:
            labels = {"code": code, "method": method, "host": "api.example:6443"}
            return metrics.registry.get_sample_value("rest_client_requests_total", labels)

        assert (2.0, 1.0, 1.0) == (count("200", "GET"), count("404", "GET"), count("<error>", "GET"))
        assert (1.0, None) == (count("200", "PATCH"), count("500", "GET"))
        labels = {"verb": "GET", "host": "api.example:6443"}
        name = "rest_client_request_duration_seconds_count"
        assert 4.0 == metrics.registry.get_sample_value(name, labels)

    def test_its_own_metrics(self) -> None:
        """A client without metrics makes its own, in a registry of their own."""
        one, two = client(Script()), client(Script())
        assert one.metrics.registry is not two.metrics.registry

    def test_repr(self) -> None:
        """The repr names the server."""
        assert "<Client of api.example:6443>" == repr(client(Script()))
