"""What a process has cost so far, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Usage", "usage"]

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time and peak memory of a process."""

    cpu: float
    """Seconds, user and system, in steps of 10 ms."""
    peak: float
    """The largest resident set, in MiB."""


def usage(pid: int) -> Usage:
    """The usage of a process that still runs."""
    process = Path(f"/proc/{pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, int(status["VmHWM"].split()[0]) / 1024)
