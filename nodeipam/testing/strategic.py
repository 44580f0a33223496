"""Strategic merge patches: merge patches in which some lists are merged item by item.

Which lists, and by which key, is a table of the kind (`Kind.merge_keys`); every other list is replaced as a
whole. The directives are `$patch`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…` and `$retainKeys`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .status import unreasoned

__all__ = ["MergeKeys", "strategic_merge"]

MergeKeys = Mapping[str, str]
"""By dotted path of a list: the field that tells its items apart, or "" for a set of plain values."""

_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"
_EVERYWHERE = {"metadata.finalizers": "", "metadata.ownerReferences": "uid"}


def strategic_merge(keys: MergeKeys, old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`old` changed by `patch`.

    Raises:
        Refusal: 500, as from a real server: a directive can't be understood, or an item has no key.
    """
    return _merge_object({**_EVERYWHERE, **keys}, "", old, patch)


def _merge_object(
    keys: MergeKeys, path: str, old: Mapping[str, Any], patch: Mapping[str, Any]
) -> dict[str, Any]:
    match patch.get("$patch"):
        case None | "merge":
            merged = _reduced(old, patch)
        case "replace":
            return {k: v for k, v in patch.items() if k != "$patch"}
        case "delete":
            return {}
        case other:
            raise unreasoned(f"unknown patch type: {other} in map; use merge, replace or delete")
    for name, value in patch.items():
        if not name.startswith("$"):
            _merge_field(keys, path, name, merged, value)
    _order_lists(keys, path, old, merged, patch)
    return merged


def _reduced(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `old` without what the directives of `patch` take away."""
    kept = {k: v for k, v in old.items() if _RETAIN not in patch or k in patch[_RETAIN]}
    for name, values in patch.items():
        field = name.removeprefix(_DELETE_FROM)
        if field != name:
            kept[field] = [item for item in kept.get(field) or [] if item not in values]
    return kept


def _merge_field(keys: MergeKeys, path: str, name: str, owner: dict[str, Any], value: Any) -> None:
    """Change one field of `owner`, which stands at `path`."""
    path = f"{path}.{name}" if path else name
    before = owner.get(name)
    if value is None:
        owner.pop(name, None)
    elif isinstance(value, dict):
        owner[name] = _merge_object(keys, path, before if isinstance(before, dict) else {}, value)
    elif isinstance(value, list) and path in keys:
        owner[name] = _merge_list(keys, path, before or [], value)
    else:
        owner[name] = value


def _merge_list(keys: MergeKeys, path: str, old: list[Any], patch: list[Any]) -> list[Any]:
    key = keys[path]
    if not key:
        return old + [item for item in patch if item not in old]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" and key not in item for item in patch):
        return [item for item in patch if item.get("$patch") != "replace"]
    merged = list(old)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise unreasoned(f"map: {item!r} does not contain declared merge key: {key}")
        place = next((at for at, found in enumerate(merged) if found.get(key) == item[key]), len(merged))
        if item.get("$patch") == "delete":
            del merged[place : place + 1]
        else:
            before = merged[place] if place < len(merged) else {}
            merged[place : place + 1] = [_merge_object(keys, path, before, item)]
    return merged


def _order_lists(
    keys: MergeKeys, path: str, old: Mapping[str, Any], merged: dict[str, Any], patch: Mapping[str, Any]
) -> None:
    """Put the lists that were merged into the order of $setElementOrder, else of the patch."""
    orders = {name: order for name, order in patch.items() if isinstance(order, list)}
    orders |= {name.removeprefix(_ORDER): order for name, order in patch.items() if name.startswith(_ORDER)}
    for name, order in orders.items():
        key = keys.get(f"{path}.{name}" if path else name)
        if key is not None and merged.get(name):
            merged[name] = _ordered(key, old.get(name) or [], merged[name], order)


def _ordered(key: str, old: list[Any], items: list[Any], order: list[Any]) -> list[Any]:
    """The items that `order` names, in its order; the others go before the first that stood behind them."""

    def name_of(item: Any) -> Any:
        return item.get(key) if key else item

    place = {name_of(item): index for index, item in enumerate(old)}
    rank = {name_of(item): index for index, item in enumerate(order)}
    named = sorted((item for item in items if name_of(item) in rank), key=lambda item: rank[name_of(item)])
    others = [item for item in items if name_of(item) not in rank]
    ordered: list[Any] = []
    for item in named:
        while others and place.get(name_of(others[0]), len(old)) < place.get(name_of(item), 0):
            ordered.append(others.pop(0))
        ordered.append(item)
    return ordered + others
