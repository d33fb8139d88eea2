"""Draws a metric of all films and of each subgroup."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from data_prep.pages.plot_style import COLOURS, GREY, save_png, style_axes
from mae_rad.finetuning.results.metrics_table import ALL, Result


def draw_subgroups(
    results: Sequence[Result],
    path: Path,
    *,
    metric: str,
    chance: float | None = None,
    highest: float | None = None,
    units: Mapping[str, str] | None = None,
) -> None:
    """Draw a metric with intervals, of all films and of each subgroup.

    Args:
        results: the metric, of one split.
        path: of the PNG.
        metric: its name.
        chance: value of a guess, drawn as a line.
        highest: right end of the axis, which begins at 0; None leaves room for all intervals.
        units: label → unit of the metric.
    """
    labels = list(dict.fromkeys(result.label for result in results))
    subsets = list(dict.fromkeys(result.subset for result in results))
    figure = Figure(figsize=(4.6 * len(labels) + 1.6, 1.4 + 0.42 * len(subsets)), layout="constrained")
    for label, panel in zip(labels, figure.subplots(1, len(labels), sharey=True, squeeze=False)[0], strict=True):
        of_label = [result for result in results if result.label == label]
        for result in of_label:
            down, colour = subsets.index(result.subset), COLOURS[0] if result.subset == ALL else GREY
            if np.isfinite(result.low):
                panel.plot([result.low, result.high], [down, down], color=colour, linewidth=2)
            panel.plot(result.value, down, marker="o", color=colour, markersize=6)
            films = f"{result.n_films} films" if result.n_present is None else f"{result.n_present} of {result.n_films}"
            text = f"{result.value:.2f}, {films}"
            panel.annotate(text, (1.03, down), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        if chance is not None:
            panel.axvline(chance, color=GREY, linewidth=0.8, linestyle=":")
        panel.set_yticks(range(len(subsets)), subsets, fontsize=9)
        panel.set_ylim(len(subsets) - 0.5, -0.5)
        ends = [end for result in of_label for end in (result.value, result.high) if np.isfinite(end)]
        panel.set_xlim(0, highest or 1.05 * max(ends, default=1.0) or 1.0)
        unit = (units or {}).get(label, "")
        axis = f"{metric}{f' ({unit})' if unit else ''}, {results[0].split} films, 95 % over patients"
        style_axes(panel, across=axis, title=label)
    save_png(figure, path)
