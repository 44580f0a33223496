"""How a faulty value is shown to a person: as it stands in the manifest, and never longer than a line."""

from __future__ import annotations

import json

__all__ = ["quote"]

_LONGEST = 64
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def quote(value: object) -> str:
    """The value as JSON, cut to a readable length: objects hold up to 1.5 MiB, condition messages 32 KiB."""
    text = ""
    for part in _ENCODER.iterencode(value):  # no further than it is shown, however large or deep it is
        text += part
        if len(text) > _LONGEST:
            return f"{text[: _LONGEST - 1]}…"
    return text
