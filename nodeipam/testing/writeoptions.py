"""The options of a write: dry runs, and of a DELETE its preconditions and what becomes of the dependents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from nodeipam.runtime.errors import Cause

from .status import bad_request, invalid

__all__ = ["DeleteOptions", "closes_at_once", "dry_run"]

_POLICIES = ("Foreground", "Background", "Orphan")
_HOLDING = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
"""The finalizers by which a policy holds the object until a garbage collector has seen to its dependents."""


class _Preconditions(msgspec.Struct, frozen=True, rename="camel"):
    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(msgspec.Struct, frozen=True, rename="camel"):
    """What a DELETE asks for. Of the kinds that the model serves none has a grace period."""

    kind: str = "DeleteOptions"
    api_version: str = "v1"
    grace_period_seconds: int | None = None
    preconditions: _Preconditions = _Preconditions()
    orphan_dependents: bool | None = None
    propagation_policy: str | None = None
    dry_run: list[str] = []

    @classmethod
    def read(cls, query: Mapping[str, str], data: bytes | None) -> DeleteOptions:
        """Read the body, or where there is none the query.

        Raises:
            Refusal: 400, it can't be read; 422, it asks for what can't be.
        """
        try:
            options = msgspec.json.decode(data, type=cls) if data else _of_query(query)
        except msgspec.MsgspecError as error:
            raise bad_request(f"error decoding the options: {error}") from None
        if options.kind != "DeleteOptions":
            raise bad_request(f'no kind "{options.kind}" is registered for version "{options.api_version}"')
        if causes := options.faults():
            raise invalid("DeleteOptions", "meta.k8s.io", "", causes)
        return options

    def finalizers(self, had: list[str]) -> list[str]:
        """The finalizers of an object that had these, once it is deleted so."""
        policy = self.propagation_policy
        if self.orphan_dependents is not None:
            policy = "Orphan" if self.orphan_dependents else "Background"
        if policy is None:
            return had
        kept = [text for text in had if text not in _HOLDING.values() or text == _HOLDING.get(policy)]
        holding = _HOLDING.get(policy)
        return kept if holding is None or holding in kept else [*kept, holding]

    def faults(self) -> list[Cause]:
        """What can't be, or not together."""
        causes = []
        policy = self.propagation_policy
        if policy is not None and policy not in _POLICIES:
            supported = ", ".join(f'"{known}"' for known in (*_POLICIES, "nil"))
            message = f'Unsupported value: "{policy}": supported values: {supported}'
            causes.append(Cause("FieldValueNotSupported", message, "propagationPolicy"))
        elif policy is not None and self.orphan_dependents is not None:
            message = (
                f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
            )
            causes.append(Cause("FieldValueInvalid", message, "propagationPolicy"))
        return causes + _wrong_dry_run(self.dry_run)


def _of_query(query: Mapping[str, str]) -> DeleteOptions:
    given = {name: query[name] for name in _IN_QUERIES if query.get(name)}
    nested = {"preconditions": query, "dryRun": [query["dryRun"]] if query.get("dryRun") else []}
    return msgspec.convert(given | nested, DeleteOptions, strict=False)


_IN_QUERIES = ("gracePeriodSeconds", "orphanDependents", "propagationPolicy")


def dry_run(query: Mapping[str, str], options: str) -> bool:
    """Whether nothing is to be written. `options` is the name that a refusal gives them: "PatchOptions".

    Raises:
        Refusal: 422, it is neither yes nor no.
    """
    asked = [query["dryRun"]] if query.get("dryRun") else []
    if causes := _wrong_dry_run(asked):
        raise invalid(options, "meta.k8s.io", "", causes)
    return bool(asked)


def closes_at_once(query: Iterable[tuple[str, str]]) -> bool:
    """Whether the request's `timeout` is over before any server could answer: below 5 ms.

    Raises:
        Refusal: 400, it is no duration.
    """
    text = next((value for name, value in query if name == "timeout"), "")
    if not text or text == "0":
        return False
    if not _DURATION.fullmatch(text):
        raise bad_request(f'invalid timeout specified in the request URL - time: invalid duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return 0.0 < seconds < 0.005 and not text.startswith("-")


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"[-+]?({_PART.pattern})+")


def _wrong_dry_run(asked: list[str]) -> list[Cause]:
    if all(text == "All" for text in asked):
        return []
    message = f'Unsupported value: {msgspec.json.encode(asked).decode()}: supported values: "All"'
    return [Cause("FieldValueNotSupported", message, "dryRun")]
