"""Draws predicted over true numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from data_prep.pages.plot_style import COLOURS, GREY, save_png, style_axes
from mae_rad.evaluation.statistics.metrics import Floats


class NumberPanel(NamedTuple):
    """One number of a regression.

    Attributes:
        title: above the panel.
        unit: of the number; empty if it has none.
        predicted: [N] numbers.
        true: [N] numbers.
    """

    title: str
    unit: str
    predicted: Floats
    true: Floats


def draw_scatter(numbers: Sequence[NumberPanel], path: Path) -> None:
    """Draw a panel per number, with the line on which both are equal; both axes have the same range.

    Args:
        numbers: of one split.
        path: of the PNG.
    """
    figure = Figure(figsize=(5.4 * len(numbers), 5.9), layout="constrained")
    for number, panel in zip(numbers, figure.subplots(1, len(numbers), squeeze=False)[0], strict=True):
        unit = f" ({number.unit})" if number.unit else ""
        both = np.concatenate([number.true, number.predicted])
        low, high = float(both.min()), float(both.max())
        margin = 0.03 * (high - low) or 1.0
        limits = low - margin, high + margin
        panel.plot(limits, limits, color=GREY, linewidth=0.8)
        size = max(3.0, min(25.0, 12000 / len(number.true)))
        panel.scatter(number.true, number.predicted, size, color=COLOURS[0], alpha=0.35, linewidths=0)
        style_axes(panel, across=f"true{unit}", down=f"predicted{unit}", title=number.title)
        panel.set_xlim(limits)
        panel.set_ylim(limits)
        panel.set_aspect("equal")
    save_png(figure, path)
