"""A Kubernetes API server in memory, for tests of any controller.

It answers what kube-apiserver answers, as far as controllers rely on it: consistent lists in pages, watches
with bookmarks, optimistic concurrency, preconditions, finalizers, status subresources, and Status bodies for
what goes wrong. Requests come in through :class:`~nodeipam.testing.transport.ModelTransport`, or over HTTP;
a test looks at the objects, changes them as another client would, and adds faults, by methods of `APIServer`.
Invariant: :meth:`APIServer.handle` is one synchronous step, so requests are carried out one after the other.

Not modelled: authorisation (a fault with status 403 does it), server-side apply, admission but for what hangs
on namespaces. No controller runs beside it, as in envtest: a Namespace that is deleted stays Terminating, and
a garbage collector's finalizer stays until somebody takes it off.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from nodeipam.runtime.objects import Resource
from nodeipam.runtime.transport import Call

from . import rules
from .definitions import DEFINITIONS, kind_of
from .discovery import discover
from .eventforms import TWINS
from .faults import Fault
from .kinds import Kind, Validate, anything
from .listoptions import Query
from .output import Form, negotiate
from .patches import MERGE_PATCH, patched
from .reading import check_version, list_page, open_watch
from .registry import Registry, whole
from .routing import Target, route
from .status import REASONS, Refusal, method_not_allowed, status_body, too_large, unsupported_media_type
from .storage import Backup, Change, Collection, Key, Record, Storage
from .watch import Watch
from .writeoptions import DeleteOptions, closes_at_once, dry_run
from .writing import Writer

__all__ = ["APIServer", "Logged", "Reply"]

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_JSON = "application/json"
_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_MOST_BYTES = 3 << 20
"""Of a request's body."""


class Reply(NamedTuple):
    """An answer that is there at once."""

    status: int
    """0: none, the server closes the connection."""
    body: bytes
    headers: Mapping[str, str] = {"Content-Type": _JSON}


class Logged(NamedTuple):
    """One line of `APIServer.log`."""

    time: float
    """On the loop's clock, when the request was carried out."""
    identity: str
    call: Call
    status: int
    """What the server answered; 0: a fault swallowed the request, and it was not carried out."""


class APIServer:
    """The model. Each client gets a ModelTransport to it; its own methods are the test's hands.

    Where a method takes a `resource`, it is a Resource, or its text: "nodes", "leases.coordination.k8s.io".

    Attributes:
        latency: seconds from request to answer; the request is carried out in the middle of it.
        watch_lag: seconds by which watches are late.
        watch_list: whether watches with `sendInitialEvents` are served.
        watch_buffer: how many changes may wait for a slow client before the server ends its watch.
        bookmark_interval: seconds between two bookmarks of a watch.
        faults: asked in order at each request; the first that matches decides. See `Fault`.
        log: every request, in the order in which they were carried out.
        log_limit: how many of the latest requests the log keeps for certain; None: all.
        history_limit: how many versions it keeps for certain, without `compact`; None: all.
        epoch: the time that the server writes and tells ages by, when the loop's clock was at 0. An
            `HTTPServer` makes it this machine's time.
    """

    def __init__(self, *, rng: random.Random | None = None) -> None:
        """Begin with the namespaces that every cluster has; `rng` makes the names that clients don't."""
        self.latency = 0.0
        self.watch_lag = 0.0
        self.watch_list = True
        self.watch_buffer = 1000
        self.bookmark_interval = 60.0
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self.log_limit: int | None = None
        self.history_limit: int | None = None
        self.epoch = _EPOCH
        self._storage = Storage(TWINS)
        self._writer = Writer(self._storage, self._timestamp, rng or random.Random(0))  # noqa: S311 - for names
        self._registry = Registry(self._storage, self._end_watches)
        self._kinds = self._registry.kinds
        self._watches: list[Watch] = []
        self._actor = ""
        self._time = 0.0
        self._storage.begin("namespaces", map(self._namespace, _NAMESPACES))

    def __repr__(self) -> str:
        return f"<APIServer at version {self.version}, {len(self.watches)} watches>"

    def register(
        self,
        api_version: str,
        kind: str,
        plural: str,
        namespaced: bool,  # noqa: FBT001 - in the order of Resource
        *,
        status: bool = False,
        validate: Validate = anything,
    ) -> None:
        """Serve a custom resource, as its CustomResourceDefinition would make the server do.

        `status`: it has a status subresource. `validate` gets the old body (None when it is created) and the
        new one, and returns what is wrong.
        """
        made = Kind(
            api_version=api_version,
            kind=kind,
            plural=plural,
            namespaced=namespaced,
            status=status,
            validate=validate,
        )
        self._registry.add(made)

    def install(self, manifest: Mapping[str, Any]) -> None:
        """Serve the custom resource of a CustomResourceDefinition, by its schema and rules.

        It is stored, as if a client had created or changed it. Objects of its kind that are there stay, even
        where they break the new rules.

        Raises:
            ValueError: it is no such manifest, or the model can't honour a part of it; which, is said.
        """
        name = kind_of(manifest).name
        self._put({**manifest, "metadata": {**(manifest.get("metadata") or {}), "name": name}})

    def unregister(self, resource: Resource[Any] | str) -> None:
        """Take the CustomResourceDefinition away: objects are gone, watches end, paths answer 404."""
        self._registry.remove(self._kinds[str(resource)].name)

    # The test's own hands: no rule of the API but versions, and no fault, stands in their way.

    @property
    def version(self) -> int:
        """The resourceVersion of the last change to anything."""
        return self._storage.version

    @property
    def watches(self) -> list[Watch]:
        """Those that a client holds open, the oldest first."""
        self._watches = [watch for watch in self._watches if watch.open]
        return self._watches

    def put(self, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Create or replace an object, whatever it is like, and return it as stored.

        Its resourceVersion is ignored; without a uid it keeps the one it has, another uid is a new object
        under the same name. Creation is completed with uid, creationTimestamp and generation. Where it takes
        the last finalizer from an object that is being deleted, the object goes.
        """
        return self._whole(*self._put(obj))

    def patch(
        self, resource: Resource[Any] | str, name: str, patch: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Change an object by a merge patch, and return it as stored.

        Raises:
            KeyError: there is none of that name.
        """
        kind = self._kinds[str(resource)]
        old = self._of(resource).records[namespace, name]
        body = patched(kind, old.body, MERGE_PATCH, msgspec.json.encode(patch))
        return self.put({"kind": kind.kind, "apiVersion": kind.api_version, **body})

    def get(self, resource: Resource[Any] | str, name: str, *, namespace: str = "") -> dict[str, Any]:
        """A copy of an object.

        Raises:
            KeyError: there is none of that name.
        """
        return self._whole(self._kinds[str(resource)], self._of(resource).records[namespace, name])

    def objects(self, resource: Resource[Any] | str) -> list[dict[str, Any]]:
        """Copies of all objects of a kind, by namespace and name."""
        kind = self._kinds[str(resource)]
        return [self._whole(kind, record) for record in self._of(resource).at(self.version)]

    def nodes(self) -> list[dict[str, Any]]:
        """Copies of all Nodes, by name."""
        return self.objects("nodes")

    def delete(self, resource: Resource[Any] | str, name: str, *, namespace: str = "") -> None:
        """Delete an object as a client would: with finalizers it stays until they are gone.

        Raises:
            Refusal: 404, there is none of that name.
        """
        target = Target(kind=self._kinds[str(resource)], namespace=namespace, name=name)
        self._writer.delete(target, DeleteOptions())
        self._follow(target.kind)

    def observe(self, resource: Resource[Any] | str, tell: Callable[[str, Change], None]) -> None:
        """Have `tell` called, synchronously, with each change to a kind and the identity of whoever made it.

        The identity is "" for what the test does by its own hands.
        """
        self._of(resource).watchers.append(lambda change: tell(self._actor, change))

    def backup(self) -> Backup:
        """All that is stored, to be restored later."""
        return self._storage.backup()

    def restore(self, backup: Backup, *, bump: int = 0) -> None:
        """Be as at the time of the backup, as after etcd was restored: versions go back, watches end.

        `bump` is what `etcdutl snapshot restore --mark-compacted --bump-revision` gets: enough of it, and
        clients that have seen later versions are told to list again. Without it they may never notice.
        """
        self._storage.restore(backup, bump=bump)
        self.close_watches()

    def compact(self) -> None:
        """Forget the history: watches and pages from before now are answered 410."""
        self._storage.compact()

    def close_watches(self) -> None:
        """End all watches as a server that restarts does."""
        for watch in self.watches:
            watch.end()

    def break_watches(self) -> None:
        """Cut all watches off as a network that fails does."""
        for watch in self.watches:
            watch.break_off()

    # What clients do

    def handle(self, call: Call, identity: str) -> Reply | Watch:
        """Carry out one request, now, and log it."""
        self._actor = identity
        closes = False
        try:
            closes = closes_at_once(call.query)
            reply = self._answer(call)
        except Refusal as refusal:
            reply = Reply(refusal.code, refusal.encode())
        finally:
            self._actor = ""
        if isinstance(reply, Watch):
            self.record(call, identity, 200)
            return reply
        self.record(call, identity, reply.status)
        return Reply(0, b"") if closes else reply

    def record(self, call: Call, identity: str, status: int) -> None:
        """Log a request without carrying it out."""
        self.log.append(Logged(self._now(), identity, call, status))
        if self.log_limit is not None and len(self.log) > 2 * self.log_limit:
            del self.log[: len(self.log) - self.log_limit]
        if self.history_limit is not None and self.version - self._storage.compacted > 2 * self.history_limit:
            self._storage.compact(keep=self.history_limit)

    def fault(self, call: Call, identity: str) -> Fault | None:
        """The fault that this request meets, if any; it is counted as met."""
        return next((fault for fault in self.faults if fault.meets(call, identity)), None)

    def reply_of(self, fault: Fault) -> Reply:
        """What an error fault answers in the server's place."""
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        if fault.body is not None:
            return Reply(fault.status, fault.body, {"Content-Type": "text/html"} | headers)
        body = status_body(fault.status, f"injected: {REASONS.get(fault.status, 'Unknown')}")
        return Reply(fault.status, msgspec.json.encode(body), {"Content-Type": _JSON} | headers)

    def _answer(self, call: Call) -> Reply | Watch:
        target = route(self._kinds, call.path)
        if target is None:
            if call.method == "GET" and (found := discover(self._kinds.values(), call.path)):
                return Reply(200, found[0], {"Content-Type": found[1]})
            return Reply(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
        if len(call.body or b"") > _MOST_BYTES:
            raise too_large(_MOST_BYTES)
        if call.method == "GET":
            return self._read(call, target)
        reply = self._write(call, target, dict(call.query))
        self._follow(target.kind)
        return reply

    def _read(self, call: Call, target: Target) -> Reply | Watch:
        if target.name:
            check_version(self._storage, Query.of_object(call.query))
            return self._reply(call, target, self._writer.existing(target))
        return self._list_or_watch(call, target)

    def _write(self, call: Call, target: Target, query: Mapping[str, str]) -> Reply:
        kind, strict = target.kind, query.get("fieldValidation") == "Strict"
        match call.method, bool(target.name):
            case "POST", False if bool(target.namespace) == kind.namespaced:
                _expect(call, _JSON)
                body = rules.decode_object(kind, call.body, strict=strict)
                dry = dry_run(query, "CreateOptions")
                return self._reply(call, target, self._writer.create(target, body, dry_run=dry), 201)
            case "PUT", True:
                _expect(call, _JSON)
                dry = dry_run(query, "UpdateOptions")
                record, new = self._writer.replace(target, call.body, strict=strict, dry_run=dry)
                return self._reply(call, target, record, 201 if new else 200)
            case "PATCH", True:
                content_type, dry = _header(call, "content-type"), dry_run(query, "PatchOptions")
                record = self._writer.patch(target, content_type, call.body, strict=strict, dry_run=dry)
                return self._reply(call, target, record)
            case "DELETE", True if not target.subresource:
                record, gone = self._writer.delete(target, self._delete_options(call, query))
                return _deleted(target, record) if gone else self._reply(call, target, record)
            case "DELETE", False if kind.delete_collection and bool(target.namespace) == kind.namespaced:
                return self._delete_all(call, target, self._delete_options(call, query))
            case _:
                raise method_not_allowed()

    def _delete_options(self, call: Call, query: Mapping[str, str]) -> DeleteOptions:
        if call.body:
            _expect(call, _JSON)
        return DeleteOptions.read(query, call.body)

    def _delete_all(self, call: Call, target: Target, options: DeleteOptions) -> Reply:
        """Delete what a list would show, and show it as it was."""
        query = Query.read(call.query, watch_list=self.watch_list)
        output = negotiate(target.kind, self._form(call), partial="PartialObjectMetadataList")
        page = list_page(self._storage, target, query)
        body = output.list(page.records, page.metadata)
        for record in page.records:
            self._writer.delete(msgspec.structs.replace(target, name=record.key[1]), options)
        return Reply(200, body)

    def _list_or_watch(self, call: Call, target: Target) -> Reply | Watch:
        query, form = Query.read(call.query, watch_list=self.watch_list), self._form(call)
        if not query.watch:
            output = negotiate(target.kind, form, partial="PartialObjectMetadataList")
            return Reply(200, output.list(*list_page(self._storage, target, query)))
        watch = open_watch(
            self._storage,
            target,
            query,
            negotiate(target.kind, form),
            bookmark_interval=self.bookmark_interval,
            buffer=self.watch_buffer,
        )
        self._watches.append(watch)
        return watch

    def _form(self, call: Call) -> Form:
        rows = dict(call.query).get("includeObject", "")
        return Form(accept=_header(call, "accept"), rows=rows, now=self._wall)

    def _reply(self, call: Call, target: Target, record: Record, code: int = 200) -> Reply:
        return Reply(code, negotiate(target.kind, self._form(call)).object(record))

    def _of(self, resource: Resource[Any] | str) -> Collection:
        return self._storage.collection(self._kinds[str(resource)].name)

    def _put(self, obj: Mapping[str, Any]) -> tuple[Kind, Record]:
        kind = self._registry.of(obj.get("apiVersion", ""), obj.get("kind", ""))
        metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if k != "resourceVersion"}
        key = (metadata.get("namespace", ""), metadata["name"])
        old = self._storage.collection(kind.name).records.get(key)
        if old is not None and metadata.get("uid", old.metadata["uid"]) != old.metadata["uid"]:
            self._storage.delete(kind.name, key, old.body)
            old = None
        system = {"uid": old.metadata["uid"] if old else self._writer.new_uid()}
        system["creationTimestamp"] = old.metadata["creationTimestamp"] if old else self._timestamp()
        generation = (
            {"generation": old.metadata.get("generation", 0) + 1 if old else 1} if kind.counts else {}
        )
        body = {k: v for k, v in obj.items() if k not in {"kind", "apiVersion"}}
        stored = _copied(kind.normalize({**body, "metadata": generation | system | metadata}))
        if old is not None and "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            record = self._storage.delete(kind.name, key, stored)
        else:
            record = self._storage.put(kind.name, key, stored)
        self._follow(kind)
        return kind, record

    def _follow(self, written: Kind) -> None:
        if written is DEFINITIONS:
            self._registry.follow()

    def _end_watches(self, name: str) -> None:
        for watch in self.watches:
            if watch.terms.name == name:
                watch.end()

    def _namespace(self, name: str) -> tuple[Key, dict[str, Any]]:
        metadata = {"name": name, "uid": self._writer.new_uid(), "creationTimestamp": self._timestamp()}
        return ("", name), self._kinds["namespaces"].normalize({"metadata": metadata})

    def _whole(self, kind: Kind, record: Record) -> dict[str, Any]:
        return whole(kind, msgspec.json.decode(record.json()))

    def _now(self) -> float:
        """The loop's time; where no loop runs, the time at which one was last seen."""
        with suppress(RuntimeError):
            self._time = asyncio.get_running_loop().time()
        return self._time

    def _wall(self) -> datetime:
        return self.epoch + timedelta(seconds=self._now())

    def _timestamp(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%SZ")


def _deleted(target: Target, record: Record) -> Reply:
    details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural}
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {k: v for k, v in details.items() if v} | {"uid": record.metadata["uid"]},
    }
    return Reply(200, msgspec.json.encode(body))


def _copied(body: dict[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    return copied


def _header(call: Call, name: str) -> str:
    return next((value for key, value in call.headers.items() if key.lower() == name), "")


def _expect(call: Call, media_type: str) -> None:
    given = _header(call, "content-type").partition(";")[0].strip()
    if given != media_type:
        raise unsupported_media_type(media_type)
