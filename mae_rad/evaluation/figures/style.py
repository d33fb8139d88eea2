"""Style of the figures: colour and marker of every encoder; inline SVG."""

import io
import re
from collections.abc import Sequence
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

from data_prep.pages.plot_style import GREY, MARKERS, colour_of
from mae_rad.evaluation.results.rows import RANDOM_BASELINE

_NOT_INLINE = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"<metadata>.*?</metadata>\s*",
        r"<defs>\s*<style.*?</defs>\s*",  # it would apply to the whole page
        r'(?<=<g) id="[^"]+"',  # equal in every figure; referenced elements have other names
        r" font-family: [^;\"]+;?",
        r' transform="rotate\(-0 [^"]+"',
    )
)
_TAG = re.compile(r"<[^>]+>")
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")
_SVG = {"svg.fonttype": "none", "svg.hashsalt": "mae_rad", "font.family": "sans-serif"}


def encoder_styles(encoders: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return encoder → colour and marker for ``Axes.plot``; random encoders are hollow grey circles."""
    trained = [name for name in encoders if not name.startswith(RANDOM_BASELINE)]
    styles = {name: class_style(number) for number, name in enumerate(trained)}
    baseline = {"color": GREY, "marker": "o", "markerfacecolor": "white"}
    return {name: styles.get(name, baseline) for name in encoders}


def class_style(number: int) -> dict[str, str]:
    """Return colour and marker of the ``number``-th class of a map."""
    return {"color": colour_of(number), "marker": MARKERS[number % len(MARKERS)]}


def as_svg(figure: Figure, described: str) -> str:
    """Return a figure as a self-contained ``svg`` element.

    Args:
        figure: figure.
        described: description for screen readers.
    """
    buffer = io.StringIO()
    with mpl.rc_context(_SVG):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    opening, _, drawn = text[text.index("<svg") :].partition(">")
    box = re.search(r'viewBox="[^"]+"', opening)
    assert box is not None
    for pattern in _NOT_INLINE:
        drawn = pattern.sub("", drawn)
    drawn = _TAG.sub(lambda tag: _LONG_NUMBER.sub(r"\1", tag[0]), drawn)  # only inside tags, not in the texts
    return f'<svg {box[0]} role="img" aria-label="{escape(described, quote=True)}">{drawn}'
