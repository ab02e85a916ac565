"""Two charts as SVG, to be set into a page: text stays text, and nothing in them refers to anything outside."""

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

COLOURS = ("#0072b2", "#e69f00")  # Okabe and Ito's blue and orange
GRID, GREY, INK = "#d8dee4", "#59636e", "#1b1f24"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "segzero", "font.size": 9, "text.color": INK, "axes.edgecolor": GRID}
_WIDTH = 6.7  # inches
_BAR = 0.4  # thickness, of the distance between two groups
_BINS = 20
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # they name addresses
_NAMESPACE = re.compile(r' xmlns(:\w+)?="[^"]*"')  # HTML knows them


@mpl.rc_context(STYLE)
def bars(title: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[Mapping[str, float]]]]) -> str:
    """Return groups of bars of shares 0..1 with their intervals; one row per group, one figure per name."""
    figure = Figure((_WIDTH, 0.9 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for row, (_, figures) in enumerate(rows):
        for at, share in enumerate(figures):
            _bar(axes, row + _BAR * at, share, COLOURS[at])
    middles = [row + _BAR * (len(figures) - 1) / 2 for row, (_, figures) in enumerate(rows)]
    axes.set_yticks(middles, [name for name, _ in rows], parse_math=False)
    axes.set(xlim=(0, 1.06), ylim=(len(rows) - 0.4, -0.4), xticks=(0, 0.25, 0.5, 0.75, 1))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.xaxis.grid(visible=True, color=GRID, clip_on=False, zorder=0)
    keys = [Patch(color=colour, label=name) for name, colour in zip(names, COLOURS, strict=False)]
    figure.legend(handles=keys, loc="outside upper right", ncols=len(names), frameon=False)
    return _svg(figure, axes, title)


def _bar(axes: Axes, place: float, share: Mapping[str, float], colour: str) -> None:
    """Draw one bar, its interval as a whisker, and its value beyond both."""
    value, low, high = share["value"], share["low"], share["high"]
    axes.barh(place, value, _BAR * 0.9, color=colour, clip_on=False, zorder=2)
    axes.plot((low, high), (place, place), color=INK, lw=1, marker="|", ms=5, clip_on=False, zorder=3)
    axes.text(max(value, high) + 0.012, place, f"{100 * value:.0f}", va="center", color=GREY)


@mpl.rc_context(STYLE)
def histogram(title: str, shares: Sequence[float]) -> str:
    """Return how many of some shares 0..1 fall into each twentieth."""
    figure = Figure((_WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    counts, _, drawn = axes.hist(shares, _BINS, (0, 1), color=COLOURS[0], rwidth=0.93, clip_on=False)
    axes.bar_label(drawn, [f"{count:.0f}" if count else "" for count in counts], color=GREY)
    axes.set(xlim=(0, 1), xticks=(0, 0.25, 0.5, 0.75, 1), yticks=())
    return _svg(figure, axes, title)


def _svg(figure: Figure, axes: Axes, title: str) -> str:
    axes.tick_params(length=0, colors=GREY, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=10)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata=_NO_METADATA)
    text = _NAMESPACE.sub("", drawn.getvalue())
    return f'<svg role="img" aria-label="{escape(title)}"{text[text.index("<svg") + 4 :]}'
