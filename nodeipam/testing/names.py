"""What names, labels and their like may look like: each function tells what is wrong with a text.

The words are kube-apiserver's. No list, no fault.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["label_value", "qualified_name", "rfc1123_label", "rfc1123_subdomain"]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_NAME})?"


@lru_cache(maxsize=4096)
def rfc1123_subdomain(text: str) -> tuple[str, ...]:
    """The name of most objects."""
    return _too_long(text, 253) + _unlike(
        _SUBDOMAIN,
        text,
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character",
        "e.g. 'example.com'",
    )


@lru_cache(maxsize=4096)
def rfc1123_label(text: str) -> tuple[str, ...]:
    """The name of a Namespace."""
    if re.fullmatch(_SUBDOMAIN, text) and "." in text:
        return ("must not contain dots",)
    return _too_long(text, 63) + _unlike(
        _LABEL,
        text,
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character",
        "e.g. 'my-name',  or '123-abc'",
    )


@lru_cache(maxsize=4096)
def qualified_name(text: str) -> tuple[str, ...]:
    """The key of a label or an annotation, or a finalizer: a name, and perhaps a domain before it."""
    prefix, slash, name = text.rpartition("/")
    examples = "e.g. 'MyName',  or 'my.name',  or '123-abc'"
    shape = (
        "must consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character"
    )
    if "/" in prefix:
        told = f"a valid label key {shape} ({examples}, regex used for validation is '{_NAME}')"
        return (f"{told} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",)
    wrong: tuple[str, ...] = ()
    if slash:
        wrong += (
            tuple(f"prefix part {fault}" for fault in rfc1123_subdomain(prefix)) if prefix else _EMPTY_PREFIX
        )
    if not name:
        wrong += ("name part must be non-empty",)
    wrong += tuple(f"name part {fault}" for fault in _too_long(name, 63, "bytes"))
    return wrong + _unlike(_NAME, name, f"name part {shape}", examples)


@lru_cache(maxsize=4096)
def label_value(text: str) -> tuple[str, ...]:
    """The value of a label."""
    return _too_long(text, 63, "bytes") + _unlike(
        _VALUE,
        text,
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character",
        "e.g. 'MyValue',  or 'my_value',  or '12345'",
    )


_EMPTY_PREFIX = ("prefix part must be non-empty",)


def _too_long(text: str, most: int, unit: str = "characters") -> tuple[str, ...]:
    return (f"must be no more than {most} {unit}",) if len(text) > most else ()


def _unlike(pattern: str, text: str, rule: str, examples: str) -> tuple[str, ...]:
    if re.fullmatch(pattern, text):
        return ()
    return (f"{rule} ({examples}, regex used for validation is '{pattern}')",)
