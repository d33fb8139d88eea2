"""Draw forest plots: scores of every encoder, and differences of two encoders on the same films."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from data_prep.pages.plot_style import COLOURS, GREY, INK, RULE, SOFT, save_png, style_axes
from mae_rad.evaluation.figures.style import encoder_styles
from mae_rad.evaluation.results.display_names import (
    interval_text,
    metric_of,
    plain_name,
    probe_name,
    scale_name,
    signed,
)
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, Row
from mae_rad.evaluation.statistics.intervals import Interval

PER_FIGURE = 8
"""Largest number of task × probe groups on one figure of scores."""
_DECIDED = ("higher", "lower")


def values_forests(results: ComparisonResults, probes: Sequence[str]) -> list[Figure]:
    """Draw, per task and probe, the score of every encoder and its difference to the random baseline.

    The single runs of a group are small strokes.

    Args:
        results: rows of the comparison.
        probes: probes of the scores.
    """
    groups = [(task, probe) for task in results.tasks for probe in probes if results.values(task, probe)]
    by_scale: dict[str, list[tuple[str, str]]] = {}  # an axis has one scale: AUROC, or R²
    for group in groups:
        by_scale.setdefault(scale_name(results.main_metric(*group)), []).append(group)
    return [
        _values_forest(results, of_scale[start : start + PER_FIGURE])
        for of_scale in by_scale.values()
        for start in range(0, len(of_scale), PER_FIGURE)
    ]


def draw_values(results: ComparisonResults, folder: Path) -> list[Path]:
    """Write ``values-1.png``, …; those of an earlier comparison are deleted.

    Args:
        results: rows of the comparison.
        folder: folder of the PNG files.
    """
    for old in folder.glob("values-*.png"):
        old.unlink()
    return [
        save_png(figure, folder / f"values-{number}.png")
        for number, figure in enumerate(values_forests(results, results.probes), 1)
    ]


def _values_forest(results: ComparisonResults, groups: Sequence[tuple[str, str]]) -> Figure:
    encoders = results.compared_encoders
    styles = encoder_styles(encoders)
    rows = {group: [row for row in results.values(*group) if row.encoder in encoders] for group in groups}
    to_floor = {
        group: [row for row in results.differences(*group) if row.reference == RANDOM_BASELINE] for group in groups
    }
    columns = 2 if any(to_floor.values()) else 1
    height = 1.5 + len(groups) * (0.36 + 0.19 * len(encoders))
    figure = Figure(figsize=(4.5 + 3.6 * columns, height), layout="constrained")
    axes: NDArray[Any] = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    for number, group in enumerate(groups):
        for row in rows[group]:
            y = number + _offset(encoders.index(row.encoder), len(encoders))
            _draw(axes[0], row.interval, y, f"{row.interval.value:.3f}", styles[row.encoder])
            runs = [run_row for run_row in results.values(*group) if run_row.encoder in results.members(row.encoder)]
            across = [run_row.interval.value for run_row in runs]
            axes[0].plot(across, [y] * len(runs), "|", color=styles[row.encoder]["color"], markersize=9)
        for row in to_floor[group]:
            if row.difference is not None:
                y = number + _offset(encoders.index(row.encoder), len(encoders))
                _draw(axes[1], row.difference, y, signed(row.difference.value), styles[row.encoder])
    _dress(axes, [rows[group][0] for group in groups])
    handles = [axes[0].plot([], [], linestyle="", markersize=7, label=name, **styles[name])[0] for name in encoders]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(encoders), 4), frameon=False, fontsize=11)
    return figure


def _offset(place: int, count: int) -> float:
    return (place - (count - 1) / 2) * 0.8 / (count + 0.6)


def _draw(axes: Any, interval: Interval, y: float, text: str, style: dict[str, str]) -> None:
    """Draw a marker with its interval, and the value to the right of the upper bound."""
    if np.isfinite(interval.low):
        axes.plot([interval.low, interval.high], [y, y], color=style["color"], linewidth=2, solid_capstyle="butt")
    axes.plot(interval.value, y, linestyle="", markersize=7, **style)
    end = np.nanmax([interval.value, interval.high])
    axes.annotate(text, (end, y), (7, 0), textcoords="offset points", va="center", fontsize=9, color="#333333")


def _dress(axes: NDArray[Any], first: Sequence[Row]) -> None:
    axes[0].set_yticks(range(len(first)), [_group_label(row) for row in first], fontsize=10)
    axes[0].set_ylim(len(first) - 0.5, -0.5)
    metrics = [metric_of(name) for name in dict.fromkeys(row.metric for row in first)]
    names = " or ".join(metric.name for metric in metrics)
    chance = {metric.chance for metric in metrics if metric.chance is not None}
    meaning = "predicting the mean" if first[0].metric == "r2" else "chance"
    chance_text = f", {min(chance):g} is {meaning}" if len(chance) == 1 else ""
    labels = [f"{names} on test films{chance_text}", f"difference to the {RANDOM_BASELINE} on the same films"]
    for value in chance if len(chance) == 1 else ():
        axes[0].axvline(value, color=GREY, linewidth=1, linestyle=":")
    if len(axes) > 1:
        axes[1].axvline(0, color=GREY, linewidth=1, linestyle=":")
    for panel, label in zip(axes, labels, strict=False):
        panel.margins(x=0.18)
        style_axes(panel, across=f"{label}\n95 % interval over patients", grid="x")
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        for line in np.arange(len(first) - 1) + 0.5:
            panel.axhline(line, color="#cccccc", linewidth=0.8)
    if chance == {0.5}:  # values are at most 1; the space beyond is for text
        axes[0].set_xticks([tick for tick in axes[0].get_xticks() if -1e-9 <= tick <= 1 + 1e-9])


def _group_label(row: Row) -> str:
    task = "\n".join(textwrap.wrap(plain_name(row.task), 28))
    return f"{task}\n{probe_name(row.probe)}\n{row.n_films:,} films, {row.n_patients:,} patients"


def pair_forest(results: ComparisonResults, encoder: str, reference: str, arm: str) -> Figure:
    """Draw the differences of two encoders on the same films, one row per task and probe, with a table of the values.

    A filled marker is a difference that is significant after correction for the number of tasks; the grey bar has the
    differences that this test set would not detect.

    Args:
        results: rows of the comparison.
        encoder: first encoder.
        reference: second encoder.
        arm: arm of the differences.
    """
    pair = (encoder, reference)
    rows = [row for row in results.differences() if (row.encoder, row.reference) == pair and row.arm == arm]
    tasks = [task for task in results.tasks if any(row.task == task for row in rows)]
    places: list[tuple[float, Row]] = []
    heads: list[tuple[float, Row]] = []
    y = 0.0
    for task in tasks:
        task_rows = [row for row in rows if row.task == task]
        heads.append((y, task_rows[0]))
        places += [(y + 1 + number, row) for number, row in enumerate(task_rows)]
        y += len(task_rows) + 1.5
    height = 1.25 + 0.235 * y
    figure = Figure(figsize=(9.8, height))
    axes = figure.add_axes((0.19, 0.72 / height, 0.36, 1 - 1.2 / height))
    for place, row in places:
        _draw_difference(axes, place, row)
    axes.set_ylim(y - 0.5, -0.6)
    axes.set_yticks([])
    axes.axvline(0, color=INK, linewidth=1)
    limit = max((abs(bound) for _, row in places for bound in _bounds(row)), default=0.1) * 1.15 or 0.1
    axes.set_xlim(-limit, limit)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    several = "in the metric of each task\n" if len({scale_name(row.metric) for _, row in places}) > 1 else ""
    across = f"difference, {encoder} minus {reference}, {several}95 % interval over patients"
    style_axes(axes, across=across, grid="x")
    axes.spines["left"].set_visible(False)
    _columns(axes, places, heads, encoder, reference)
    return figure


def _draw_difference(axes: Any, y: float, row: Row) -> None:
    assert row.difference is not None
    least = row.minimum_detectable_difference
    if least is not None and np.isfinite(least):
        axes.fill_betweenx([y - 0.36, y + 0.36], -least, least, color=RULE, linewidth=0)
    colour = COLOURS[0]
    if np.isfinite(row.difference.low):
        axes.plot([row.difference.low, row.difference.high], [y, y], color=colour, linewidth=1.8)
    face = colour if row.verdict in _DECIDED else "white"
    axes.plot(row.difference.value, y, marker="s", markersize=6, color=colour, markerfacecolor=face)


def _bounds(row: Row) -> list[float]:
    return [value for value in row.difference or () if np.isfinite(value)]


def _columns(
    axes: Any, places: Sequence[tuple[float, Row]], heads: Sequence[tuple[float, Row]], encoder: str, reference: str
) -> None:
    """Write the text left and right of the plot, in the rows of its markers."""
    across = blended_transform_factory(axes.transAxes, axes.transData)

    def write(x: float, y: float, text: str, **more: Any) -> None:
        axes.text(x, y, text, transform=across, va="center", fontsize=9.5, **more)

    columns = (1.04, 1.66, 1.95)
    for x, text in zip(columns, ("difference [95 %]", encoder, reference), strict=True):
        heading = "\n".join(textwrap.wrap(_short(text, 24), 13 if x > columns[0] else 24)[:2])
        axes.text(x, -0.65, heading, transform=across, va="bottom", fontsize=9.5, color=SOFT)
    for y, row in heads:
        name = f"{plain_name(row.task)}, {metric_of(row.metric).name}"
        write(-0.52, y, _short(name, 48), fontweight="bold", color=INK)
        write(1.04, y, f"{row.n_films:,} test films, {row.n_patients:,} patients", color=SOFT)
    for y, row in places:
        assert row.difference is not None
        reference_value = Interval(row.interval.value - row.difference.value, np.nan, np.nan)
        write(-0.5, y, probe_name(row.probe), color=INK)
        write(columns[0], y, interval_text(row.difference, signs=True), color=INK)
        write(columns[1], y, f"{row.interval.value:.3f}", color=INK)
        write(columns[2], y, f"{reference_value.value:.3f}", color=INK)


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
