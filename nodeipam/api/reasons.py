"""How a faulty value is shown to a person: as it stands in the manifest, and never longer than a line."""

from __future__ import annotations

import json

__all__ = ["quote"]

_LONGEST = 64


def quote(value: object) -> str:
    """The value as JSON, cut to a readable length: objects hold up to 1.5 MiB, condition messages 32 KiB."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
