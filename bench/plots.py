"""Plots as SVG text, made of nothing but strings: bars with their spread, stacked bars, and lines.

The same figures give the same bytes. Each has a white ground of its own, so that it is readable on any page.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

from bench.measure import Spread

WIDTH: Final = 760
COLOURS: Final = ("#2563eb", "#9ca3af", "#16a34a", "#d97706", "#9333ea", "#0891b2", "#dc2626", "#4b5563", "#a3a300")

_LEFT: Final = 170
_RIGHT: Final = 80
_BAR: Final = 16
_GAP: Final = 10
_HEAD: Final = 58
_HEIGHT: Final = 320


def bars(title: str, groups: Mapping[str, Mapping[str, Spread]], decimals: int = 0) -> str:
    """A bar for each series of each group, with its median as a figure and its spread as a whisker."""
    names = list(dict.fromkeys(name for series in groups.values() for name in series))
    most = max((spread.most for series in groups.values() for spread in series.values()), default=0) or 1
    parts, y = list(_legend(names)), _HEAD
    for label, series in groups.items():
        middle = y + len(series) * _BAR / 2 + 4
        parts.append(_text(_LEFT - 8, middle, label, "end"))
        for name, spread in series.items():
            width = _wide(spread.median, most)
            parts.append(_rect(_LEFT, y + 1, width, _BAR - 2, COLOURS[names.index(name) % len(COLOURS)]))
            if spread.most > spread.least:
                start, end, at = (*(_LEFT + _wide(value, most) for value in (spread.least, spread.most)), y + _BAR / 2)
                parts.append(f'<path d="M{start:.1f} {at}H{end:.1f}" stroke="#111" stroke-width="1"/>')
            parts.append(_text(_LEFT + _wide(spread.most, most) + 6, y + 12, f"{spread.median:.{decimals}f}"))
            y += _BAR
        y += _GAP
    return _page(title, parts, y)


def stacked(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """One bar a row, made of its parts; the sum is its figure."""
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    most = max((sum(parts.values()) for parts in rows.values()), default=0) or 1
    drawn, y = list(_legend(names)), _HEAD + 18 * (len(names) // 6)
    for label, parts in rows.items():
        drawn.append(_text(_LEFT - 8, y + 15, label, "end"))
        x = float(_LEFT)
        for name, value in parts.items():
            width = _wide(value, most)
            drawn.append(_rect(x, y, width, 22, COLOURS[names.index(name) % len(COLOURS)]))
            x += width
        drawn.append(_text(x + 6, y + 15, f"{sum(parts.values()):.0f}"))
        y += 22 + _GAP
    return _page(title, drawn, y)


def lines(title: str, about_x: str, ticks: Sequence[str], series: Mapping[str, Sequence[Spread | None]]) -> str:
    """A line for each series over ``ticks``, which stand at equal distances; each point with its spread."""
    most = max((point.most for points in series.values() for point in points if point), default=0) or 1
    top, bottom, left, right = _HEAD, _HEIGHT - 40, 60, WIDTH - 30
    step = (right - left) / max(1, len(ticks) - 1)

    def high(value: float) -> float:
        return bottom - (bottom - top) * value / most

    parts = [*_legend(list(series)), _text((left + right) / 2, _HEIGHT - 6, about_x, "middle")]
    for share in (0.0, 0.5, 1.0):
        y = high(most * share)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#e5e7eb"/>')
        parts.append(_text(left - 8, y + 4, f"{most * share:.3g}", "end"))
    for number, tick in enumerate(ticks):
        parts.append(_text(left + number * step, bottom + 18, tick, "middle"))
    for colour, points in zip(COLOURS, series.values(), strict=False):
        known = [(left + number * step, point) for number, point in enumerate(points) if point]
        path = " ".join(f"{x:.1f},{high(point.median):.1f}" for x, point in known)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, point in known:
            parts.append(f'<path d="M{x:.1f} {high(point.least):.1f}V{high(point.most):.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{high(point.median):.1f}" r="3" fill="{colour}"/>')
    return _page(title, parts, _HEIGHT)


def _wide(value: float, most: float) -> float:
    return (WIDTH - _LEFT - _RIGHT) * value / most


def _legend(names: Sequence[str]) -> Iterator[str]:
    x, y = 12, 40
    for number, name in enumerate(names):
        width = 30 + 7 * len(name)
        if x + width > WIDTH:
            x, y = 12, y + 18
        yield _rect(x, y - 9, 10, 10, COLOURS[number % len(COLOURS)])
        yield _text(x + 15, y, name)
        x += width


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _page(title: str, parts: Sequence[str], height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#111">'
    )
    name = f'<text x="12" y="20" font-size="14" font-weight="600">{escape(title)}</text>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>', name, *parts, "</svg>", ""])
