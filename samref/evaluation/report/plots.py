"""Plots as SVG text that takes the page's own text colour, so that they are readable on light and on dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from samref.errors import SamrefError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Series", "check_plots", "line_plot", "step_plot"]

Series = Mapping[str, Sequence[float]]
"""Values by name; the name stands in the legend."""

_INK = "#010203"
"""Stands for the page's text colour, which an SVG inside the page can ask for and matplotlib cannot."""

_COLOURS = ("#d97706", "#3a86e0", "#1a9d68", "#b5529c", "#8a8f98")
"""Told apart by colour-blind eyes, and with a contrast of 3 or more on white and on near-black."""

_STYLES = (("--", "o"), ("-", "s"), ("-.", "^"), (":", "D"), ("-", "v"))
_SIZE_INCHES = (4.4, 3.1)

_NAMES = re.compile(r"""( id="|url\(#|href="#)""")
"""Where an SVG names its parts and where it asks for them; the page has several SVGs and each name once."""


def check_plots() -> None:
    """Refuse, before a long measurement, to draw where nothing can be drawn.

    Raises:
        SamrefError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise SamrefError(
            "A page with plots needs matplotlib, which is not installed. "
            "Install it with: pip install 'samref[evaluate]'"
        ) from error


def line_plot(series: Series, *, title: str, x_label: str, y_label: str) -> str:
    """Values after 1, 2, 3, ... clicks as lines; NaN leaves a gap.

    Args:
        series: one line each, 0..1.
        title: what it shows, for people who cannot see it as well.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
    """
    with _drawing(title, x_label, y_label) as (axes, text):
        most = 1
        for number, (name, values) in enumerate(series.items()):
            style, marker = _STYLES[number % len(_STYLES)]
            clicks = range(1, len(values) + 1)
            most = max(most, len(values))
            axes.plot(
                clicks, values, style, marker=marker, ms=3.5, lw=1.6, color=_COLOURS[number % len(_COLOURS)], label=name
            )
        known = [value for values in series.values() for value in values if not math.isnan(value)]
        axes.set_ylim(math.floor(10 * min(known, default=0)) / 10, 1)
        axes.set_xlim(0.5, most + 0.5)
        _whole_clicks(axes, most)
    return text.getvalue()


def step_plot(series: Mapping[str, Sequence[int | None]], most: int, *, title: str, x_label: str, y_label: str) -> str:
    """How many objects needed how many clicks, side by side for each series; the last bar is those that never did.

    Args:
        series: clicks per object, None for never.
        most: clicks that were given.
        title: what it shows.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
    """
    with _drawing(title, x_label, y_label) as (axes, text):
        never = most + 1.5
        width = 0.84 / max(1, len(series))
        for number, (name, clicks) in enumerate(series.items()):
            places = list(range(1, most + 1))
            heights = [sum(one == count for one in clicks) for count in places]
            shift = (number - (len(series) - 1) / 2) * width
            colour = _COLOURS[number % len(_COLOURS)]
            axes.bar([place + shift for place in places], heights, width, color=colour, label=name)
            lost = sum(one is None for one in clicks)
            axes.bar([never + shift], [lost], width, color="none", edgecolor=colour, hatch="////", lw=1)
        _whole_clicks(axes, most, extra={never: "never"})
        axes.set_xlim(0.3, never + 0.7)
    return text.getvalue()


def _whole_clicks(axes: Axes, most: int, extra: Mapping[float, str] | None = None) -> None:
    step = max(1, math.ceil(most / 8)) if most > 10 else 1
    ticks: dict[float, str] = {count: str(count) for count in (1, *range(step, most + 1, step))}
    ticks.update(extra or {})
    axes.set_xticks(list(ticks), list(ticks.values()))


@contextmanager
def _drawing(title: str, x_label: str, y_label: str) -> Iterator[tuple[Axes, io.StringIO]]:
    """Axes to draw on; the text holds the SVG afterwards."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",  # text stays text, in the page's font
        "svg.hashsalt": title,  # names inside the SVG are the same every time and differ between plots
        "text.parse_math": False,  # a dollar sign in a name is a dollar sign
        "font.size": 9,
        "hatch.linewidth": 0.8,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), _INK),
    }
    text = io.StringIO()
    with mpl.rc_context(settings):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(visible=True, axis="y", color=_INK, alpha=0.15, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, text
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, loc="best")
        raw = io.StringIO()
        figure.savefig(raw, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text.write(_for_page(raw.getvalue(), re.sub(r"\W+", "-", title)))


def _for_page(svg: str, name: str) -> str:
    """The ``<svg>`` element alone: in the page's colour, as wide as its column, with names of its own."""
    element = _NAMES.sub(rf"\g<1>{name}-", svg[svg.index("<svg") :])
    head, tag, rest = element.partition(">")
    head = _without(_without(head, "width"), "height")
    return head + ' aria-hidden="true" focusable="false"' + tag + rest.replace(_INK, "currentColor")


def _without(tag: str, attribute: str) -> str:
    before, found, after = tag.partition(f' {attribute}="')
    return before + after.partition('"')[2] if found else tag
