"""Three plots side by side, as one SVG: time, CPU and memory against the number of Nodes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.report import Section

__all__ = ["draw"]

_PANELS = (("start to last podCIDRs", "seconds"), ("CPU", "seconds of CPU"), ("peak RSS", "MiB, peak"))
_COLOURS = {
    "nodeipam": "#0b6bcb",
    "bare client": "#6b7280",
    "least in asyncio": "#9a6ee0",
    "kube-controller-manager, lifted": "#d97706",
}
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 270, 220, 50, 40, 60
_TEXT = 'font-family="sans-serif" font-size="11"'


def draw(sections: Sequence[Section]) -> str:
    """The SVG of sections that differ in the number of Nodes."""
    parts = [_panel(sections, what, unit, number) for number, (what, unit) in enumerate(_PANELS)]
    width = _LEFT + len(_PANELS) * (_WIDTH + _GAP)
    legend = [
        f'<rect x="{_LEFT + 200 * i}" y="8" width="10" height="10" fill="{colour}"/>'
        f'<text x="{_LEFT + 200 * i + 15}" y="17" {_TEXT} fill="#374151">{escape(name)}</text>'
        for i, (name, colour) in enumerate(_COLOURS.items())
    ]
    body = "\n".join(legend + parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + 45}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _panel(sections: Sequence[Section], what: str, unit: str, number: int) -> str:
    lines = {name: _points(sections, what, name) for name in _COLOURS}
    most = max((value for points in lines.values() for _, value in points), default=1.0) * 1.08
    nodes = max((section.nodes for section in sections), default=1)
    left, bottom = _LEFT + number * (_WIDTH + _GAP), _TOP + _HEIGHT

    def place(at: tuple[int, float]) -> tuple[float, float]:
        return left + _WIDTH * at[0] / nodes, bottom - _HEIGHT * at[1] / most

    parts = [f'<path d="M{left} {_TOP}V{bottom}H{left + _WIDTH}" fill="none" stroke="#9ca3af"/>']
    for share in (0.25, 0.5, 0.75, 1.0):
        x, y = place((round(nodes * share), most * share))
        parts.append(f'<path d="M{left} {y:.1f}H{left + _WIDTH}" stroke="#e5e7eb"/>')
        parts.append(
            f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end" {_TEXT}>{most * share:.3g}</text>'
        )
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle" {_TEXT}>{nodes * share:,.0f}</text>'
        )
    parts.append(f'<text x="{left + _WIDTH / 2}" y="{bottom + 33}" text-anchor="middle" {_TEXT}>Nodes</text>')
    parts.append(f'<text x="{left + 6}" y="{_TOP + 12}" {_TEXT} font-weight="bold">{escape(unit)}</text>')
    for name, points in lines.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{_COLOURS[name]}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS[name]}"/>'
            for x, y in map(place, points)
        ]
    return "\n".join(parts)


def _points(sections: Sequence[Section], what: str, name: str) -> list[tuple[int, float]]:
    found = [(s.nodes, row.median(name)) for s in sections for row in s.rows if row.what == what]
    return sorted((nodes, value) for nodes, value in found if value is not None)
