"""Style of all plots: colours for colour-blind readers (Okabe and Ito 2008) and axes without a frame.

Imports no matplotlib.
"""

from pathlib import Path
from typing import Any, Literal

from data_prep.runtime.atomic_write import atomic_file

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


def save_png(figure: Any, path: Path) -> Path:
    """Write a matplotlib figure as a PNG file.

    Args:
        figure: ``matplotlib.figure.Figure``.
        path: in an existing folder; an existing file is replaced.

    Returns:
        ``path``.
    """
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=DPI)
    return path
