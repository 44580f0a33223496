"""The options of a GET: what they mean, and which of them contradict each other.

The refusals are kube-apiserver's own, one by one: the same mistake has another code in a list (400), in a
watch (500) and where the version of one object is asked for (500).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from nodeipam.runtime.errors import Cause

from .status import bad_request, invalid, unreasoned

__all__ = ["Query", "asks_to_watch"]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a GET asks for."""

    watch: bool = False
    limit: int = 0
    continue_: str = ""
    version: int | None = None
    """None: whichever is the last."""
    match: str = ""
    """How the version is meant."""
    label_selector: str = ""
    field_selector: str = ""
    bookmarks: bool = False
    send_initial_events: bool | None = None
    """None: not a word about it."""
    timeout: float = 1800.0
    """Seconds until the server ends the watch: kube-apiserver's least, where the client doesn't say."""

    @property
    def exactly(self) -> bool:
        """Whether a list is to show the state at `version`, not just one that is no older."""
        return bool(self.version) and (
            self.match == "Exact" or (not self.match and self.limit > 0 and not self.continue_)
        )

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]], *, watch_list: bool) -> Query:
        """Read what is asked of a collection; `watch_list`: whether the server streams lists.

        Raises:
            Refusal: 400, 422 or 500, an option can't be read, or two contradict each other.
        """
        given = dict(pairs)
        watch = _flag(given, "watch")
        if causes := (_wrong_in_watch(given, watch_list=watch_list) if watch else _wrong_in_list(given)):
            raise invalid("ListOptions", "meta.k8s.io", "", causes)
        token = given.get("continue", "")
        if token and given.get("resourceVersion", "") not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        return cls(
            watch=watch,
            limit=_number(given, "limit"),
            continue_=token,
            version=_version(given, "" if watch else "invalid resource version: "),
            match=given.get("resourceVersionMatch", ""),
            label_selector=given.get("labelSelector", ""),
            field_selector=given.get("fieldSelector", ""),
            bookmarks=_flag(given, "allowWatchBookmarks"),
            send_initial_events=_flag(given, "sendInitialEvents") if "sendInitialEvents" in given else None,
            timeout=_number(given, "timeoutSeconds") or 1800.0,
        )

    @classmethod
    def of_object(cls, pairs: Iterable[tuple[str, str]]) -> Query:
        """Read what is asked of one object: nothing but its version.

        Raises:
            Refusal: 500, it is none.
        """
        return cls(version=_version(dict(pairs), ""))


def asks_to_watch(pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether a query asks for a watch instead of a list."""
    return _flag(dict(pairs), "watch")


def _wrong_in_list(given: Mapping[str, str]) -> list[Cause]:
    causes = []
    if match := given.get("resourceVersionMatch", ""):
        version = given.get("resourceVersion", "")
        if not version:
            causes.append(_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if given.get("continue"):
            causes.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
        if match not in {"Exact", "NotOlderThan"}:
            causes.append(_not_supported(match, '"Exact", "NotOlderThan", ""'))
        if match == "Exact" and version == "0":
            causes.append(_forbidden('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if "sendInitialEvents" in given:
        causes.append(_forbidden("sendInitialEvents is forbidden for list", "sendInitialEvents"))
    return causes


def _wrong_in_watch(given: Mapping[str, str], *, watch_list: bool) -> list[Cause]:
    match, streamed = given.get("resourceVersionMatch", ""), "sendInitialEvents" in given
    causes = []
    if streamed and match != "NotOlderThan":
        causes.append(_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match and not streamed:
        causes.append(
            _forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        )
    if match not in {"", "NotOlderThan"}:
        causes.append(_not_supported(match, '"NotOlderThan"'))
    if streamed and not watch_list:
        why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        causes.append(_forbidden(why, "sendInitialEvents"))
    if given.get("continue"):
        causes.append(_forbidden("resourceVersionMatch is forbidden when continue is provided"))
    return causes


def _forbidden(why: str, field: str = "resourceVersionMatch") -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _not_supported(match: str, supported: str) -> Cause:
    message = f'Unsupported value: "{match}": supported values: {supported}'
    return Cause("FieldValueNotSupported", message, "resourceVersionMatch")


def _version(given: Mapping[str, str], prefix: str) -> int | None:
    """The resourceVersion; `prefix` is what a list says before the rest, as the one that says 400."""
    text = given.get("resourceVersion", "")
    if not text:
        return None
    if text.isdecimal():
        return int(text)
    why = f'{prefix}resourceVersion: Invalid value: "{text}": {_unparsed("Uint", text)}'
    raise bad_request(why) if prefix else unreasoned(why)


def _flag(given: Mapping[str, str], name: str) -> bool:
    """As apimachinery reads a boolean: whatever isn't no is yes."""
    return name in given and given[name].lower() not in {"false", "0"}


def _number(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    try:
        return int(text or "0")
    except ValueError:
        raise bad_request(_unparsed("Int", text)) from None


def _unparsed(kind: str, text: str) -> str:
    return f'strconv.Parse{kind}: parsing "{text}": invalid syntax'
