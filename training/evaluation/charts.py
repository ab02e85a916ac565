"""Two charts as SVG, drawn without a library so that the page that holds them needs nothing else."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

COLOURS = ("#0072b2", "#e69f00")  # Okabe and Ito's blue and orange
GRID, GREY = "#d8dee4", "#59636e"
WIDTH = 640
_LEFT, _RIGHT, _TOP = 170, 56, 52  # margins, pixels
_BAR, _GAP = 11, 12  # height of a bar; space between two groups
_BINS = 20
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_HEIGHT = 220  # of the histogram's bars


def bars(title: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[Mapping[str, float]]]]) -> str:
    """Return groups of bars of shares 0..1 with their intervals; one row per group, one figure per name."""
    step = _BAR * len(names) + _GAP
    height = _TOP + step * len(rows) + 24
    drawn = [_text(0, 16, title, "start", bold=True)]
    for at, name in enumerate(names):
        drawn += [_box(_LEFT + 90 * at, 28, 10, 10, COLOURS[at]), _text(_LEFT + 90 * at + 16, 38, name, "start")]
    for share in _TICKS:
        x = _across(share)
        drawn += [_line(x, _TOP, x, height - 20), _text(x, height - 5, f"{100 * share:.0f} %", "middle", GREY)]
    for row, (name, figures) in enumerate(rows):
        top = _TOP + row * step + _GAP / 2
        drawn.append(_text(_LEFT - 10, top + _BAR * len(figures) / 2 + 4, name, "end"))
        for at, figure in enumerate(figures):
            drawn += _bar(figure, top + at * _BAR, COLOURS[at])
    return _svg(title, height, drawn)


def _bar(figure: Mapping[str, float], top: float, colour: str) -> list[str]:
    """Return one bar, its value beyond the end, and its interval as a whisker."""
    end, low, high = (_across(figure[key]) for key in ("value", "low", "high"))
    middle = top + _BAR / 2 - 0.5
    return [
        _box(_LEFT, top, max(1.0, end - _LEFT), _BAR - 1, colour),
        _line(low, middle, high, middle, "#1b1f24"),
        _line(low, middle - 3, low, middle + 3, "#1b1f24"),
        _line(high, middle - 3, high, middle + 3, "#1b1f24"),
        _text(max(high, end) + 6, middle + 4, f"{100 * figure['value']:.0f}", "start", GREY),
    ]


def histogram(title: str, shares: Sequence[float]) -> str:
    """Return how many of some shares 0..1 fall into each twentieth."""
    counts, _ = np.histogram(np.asarray(shares, float), bins=_BINS, range=(0.0, 1.0))
    highest = max(1, int(counts.max()))
    height = _TOP + _HEIGHT + 24
    left, step = 40, (WIDTH - 60) / _BINS
    drawn = [_text(0, 16, title, "start", bold=True)]
    for at, count in enumerate(counts):
        tall = _HEIGHT * int(count) / highest
        drawn.append(_box(left + at * step, _TOP + _HEIGHT - tall, step - 2, tall, COLOURS[0]))
        if count:
            drawn.append(_text(left + (at + 0.5) * step - 1, _TOP + _HEIGHT - tall - 4, str(count), "middle", GREY))
    drawn.append(_line(left, _TOP + _HEIGHT, WIDTH - 20, _TOP + _HEIGHT))
    drawn += [_text(left + share * (WIDTH - 60), height - 6, f"{share:g}", "middle", GREY) for share in _TICKS]
    return _svg(title, height, drawn)


def _across(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _svg(title: str, height: float, drawn: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    return f'<svg {size} role="img" aria-label="{escape(title)}">{"".join(drawn)}</svg>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#1b1f24", *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} style="fill:{colour}"{weight}>{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _line(x0: float, y0: float, x1: float, y1: float, colour: str = GRID) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}"/>'
