"""Style of all plots: colours for colour-blind readers (Okabe and Ito 2008) and axes without a frame.

Imports no matplotlib.
"""

from typing import Any, Literal

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
LINE_STYLES = ("-", "--", "-.", ":")
GREY, SOFT, RULE, INK = "#7f7f7f", "#57606a", "#e5e5e5", "#1b1f24"
DPI = 150
_LABEL_SIZE, _TITLE_SIZE = 9.5, 10.5
"""Points."""


def colour_of(number: int) -> str:
    """Colour of the ``number``-th series, from 0."""
    return COLOURS[number % len(COLOURS)]


def style_axes(
    axes: Any, *, across: str = "", down: str = "", title: str = "", grid: Literal["x", "y", "both"] = "both"
) -> None:
    """Style matplotlib axes: no frame, labels and a light grid behind the data.

    Args:
        axes: ``matplotlib.axes.Axes``.
        across: label of the horizontal axis, with its unit.
        down: label of the vertical axis, with its unit.
        title: title above the axes.
        grid: axis whose ticks have grid lines.
    """
    axes.set_xlabel(across, fontsize=_LABEL_SIZE)
    axes.set_ylabel(down, fontsize=_LABEL_SIZE)
    axes.set_title(title, fontsize=_TITLE_SIZE)
    axes.grid(axis=grid, color=RULE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
