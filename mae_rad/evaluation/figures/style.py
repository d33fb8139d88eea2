"""One look for all figures: colours that colour-blind readers tell apart, a marker of its own for every encoder.

Colours are those of Okabe and Ito (2008). A figure becomes a PNG for MLflow, or SVG that stands inside a page.
"""

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from data_prep.runtime.atomic_write import atomic_file
from mae_rad.evaluation.results.rows import FLOOR

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
GREY, SOFT, RULE, INK = "#7f7f7f", "#57606a", "#e5e5e5", "#1b1f24"
DPI = 150
_NOT_INLINE = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<metadata>.*?</metadata>\s*",
        r"<defs>\s*<style.*?</defs>\s*",  # it would style the whole page
        r'(?<=<g) id="[^"]+"',  # equal in every figure; what is referred to has other names
        r" font-family: [^;\"]+;?",
        r' transform="rotate\(-0 [^"]+"',
    )
)
_TAG = re.compile(r"<[^>]+>")
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")
_SVG = {"svg.fonttype": "none", "svg.hashsalt": "mae_rad", "font.family": "sans-serif"}


def encoder_styles(encoders: Sequence[str]) -> dict[str, dict[str, str]]:
    """Encoder → colour and marker, as ``Axes.plot`` takes them; floors are hollow grey circles."""
    trained = [name for name in encoders if not name.startswith(FLOOR)]
    styles = {
        name: {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        for number, name in enumerate(trained)
    }
    floor = {"color": GREY, "marker": "o", "markerfacecolor": "white"}
    return {name: styles.get(name, floor) for name in encoders}


def class_style(number: int) -> dict[str, str]:
    """Colour and marker of the ``number``-th class of a map."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def bare(axes: Any, *, grid: str = "x") -> None:
    """No frame, a light grid."""
    axes.grid(axis=grid, color=RULE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save_png(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=DPI)
    return path


def as_svg(figure: Figure, described: str) -> str:
    """The figure as an ``svg`` element that needs nothing beside it; ``described`` is for screen readers."""
    buffer = io.StringIO()
    with mpl.rc_context(_SVG):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    opening, _, drawn = text[text.index("<svg") :].partition(">")
    box = re.search(r'viewBox="[^"]+"', opening)
    assert box is not None
    for pattern in _NOT_INLINE:
        drawn = pattern.sub("", drawn)
    drawn = _TAG.sub(lambda tag: _LONG_NUMBER.sub(r"\1", tag[0]), drawn)  # never the texts between them
    return f'<svg {box[0]} role="img" aria-label="{escape(described, quote=True)}">{drawn}'
