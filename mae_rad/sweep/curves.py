"""Draw the score of each arm against the films drawn, with its intervals and the baselines."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from data_prep.pages.plot_style import GREY, LINE_STYLES, MARKERS, colour_of, style_axes
from mae_rad.evaluation.results.display_names import metric_of, plain_name

_COLUMNS = 3


def draw_curves(table: Sequence[dict[str, Any]], probe: str) -> Figure | None:
    """Draw one panel per task; None if no line of the table is of this probe.

    Args:
        table: lines of ``sweep_rows``.
        probe: probe of the scores.
    """
    table = [line for line in table if line["probe"] == probe]
    tasks = list(dict.fromkeys(line["task"] for line in table))
    if not tasks:
        return None
    arms = list(dict.fromkeys(line["arm"] for line in table if line["arm"]))
    columns = min(len(tasks), _COLUMNS)
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(max(4.2 * columns, 7), 0.6 + 3.3 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[len(tasks) :]:
        unused.set_visible(False)
    for panel, task in zip(axes, tasks, strict=False):
        _draw_panel(panel, [line for line in table if line["task"] == task], arms, task)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=9)
    return figure


def _draw_panel(panel: Any, lines: Sequence[dict[str, Any]], arms: Sequence[str], task: str) -> None:
    for number, arm in enumerate(arms):
        own = sorted((line for line in lines if line["arm"] == arm), key=lambda line: line["films_drawn"])
        films, values = [line["films_drawn"] for line in own], [line["value"] for line in own]
        colour = colour_of(number)
        panel.plot(films, values, color=colour, marker=MARKERS[number % len(MARKERS)], linewidth=1.6, label=arm)
        panel.vlines(films, [line["low"] for line in own], [line["high"] for line in own], color=colour, linewidth=1)
    for number, line in enumerate(line for line in lines if not line["arm"]):
        style = LINE_STYLES[(number + 1) % len(LINE_STYLES)]
        panel.axhline(line["value"], color=GREY, linewidth=1, linestyle=style, label=plain_name(line["encoder"]))
    panel.set_xscale("log")
    style_axes(panel, across="films drawn", down=metric_of(lines[0]["metric"]).name, title=plain_name(task))
