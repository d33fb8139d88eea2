"""Draw curves with confidence bands: score over training films, over T and over the size of objects."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from data_prep.pages.plot_style import GREY, style_axes
from mae_rad.evaluation.figures.style import encoder_styles
from mae_rad.evaluation.results.display_names import metric_of, plain_name, probe_name
from mae_rad.evaluation.results.queries import ComparisonResults
from mae_rad.evaluation.results.rows import Row

_COLUMNS = 3
OBJECT_SIZE = "object_size="


def label_efficiency(results: ComparisonResults, probe: str) -> Figure | None:
    """Draw score over training films, one panel per task; None if there is only one label fraction.

    Args:
        results: rows of the comparison.
        probe: probe of the scores.
    """
    encoders = results.compared_encoders
    curves_of_task = {task: {name: results.curve(name, task, probe) for name in encoders} for task in results.tasks}
    panels = {
        task: curves for task, curves in curves_of_task.items() if any(len(curve) > 1 for curve in curves.values())
    }
    if not panels:
        return None
    figure, axes = _panels(len(panels))
    styles = encoder_styles(encoders)
    for panel, (task, curves) in zip(axes, panels.items(), strict=False):
        for number, (name, curve) in enumerate(curves.items()):
            x = np.array([max(row.n_train, 1) for row in curve], np.float64)
            _band(panel, x * 1.03 ** (number - len(curves) / 2), curve, styles[name])
        longest = max(curves.values(), key=len)
        panel.set_xscale("log")
        panel.set_xticks([max(row.n_train, 1) for row in longest], [_films(row) for row in longest], fontsize=8.5)
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_minor_formatter(NullFormatter())
        _dress(panel, "training films\n(patients)", task, longest[-1])
    _legend(figure, axes[0], encoders, styles, f"{probe_name(probe)}; bands: 95 % interval over test patients")
    return figure


def by_size(results: ComparisonResults, probe: str) -> Figure | None:
    """Draw score over T and over the size of the object; None if neither varies.

    Args:
        results: rows of the comparison.
        probe: probe of the scores.
    """
    panels: list[tuple[str, str, Mapping[str, Sequence[Row]]]] = []
    for task in results.tasks:
        sizes = {f"{tokens:,}": rows for tokens, rows in results.sizes(task, probe).items()}
        objects = {
            name.removeprefix(OBJECT_SIZE): rows
            for name, rows in results.subsets(task, probe).items()
            if name.startswith(OBJECT_SIZE)
        }
        panels += [(task, "size of the film, T patches of content", sizes)] if sizes else []
        panels += [(task, "size of the object", objects)] if objects else []
    if not panels:
        return None
    figure, axes = _panels(len(panels))
    styles = encoder_styles(results.compared_encoders)
    for panel, (task, label, groups) in zip(axes, panels, strict=False):
        for number, name in enumerate(results.compared_encoders):
            rows = [(place, row) for place, group in enumerate(groups.values()) for row in group if row.encoder == name]
            x = np.array([place for place, _ in rows], np.float64) + 0.05 * (
                number - len(results.compared_encoders) / 2
            )
            _band(panel, x, [row for _, row in rows], styles[name])
        names = [f"{fill(name, 12)}\n{rows[0].n_films:,} ({rows[0].n_patients:,})" for name, rows in groups.items()]
        panel.set_xticks(range(len(groups)), names, fontsize=8.5)
        _dress(panel, f"{label}\ntest films (patients)", task, next(iter(groups.values()))[0], counted=False)
    _legend(
        figure,
        axes[0],
        results.compared_encoders,
        styles,
        f"{probe_name(probe)}; bars: 95 % interval over test patients",
    )
    return figure


def _panels(count: int) -> tuple[Figure, list[Any]]:
    columns = min(count, _COLUMNS)
    lines = -(-count // columns)
    figure = Figure(figsize=(max(3.65 * columns, 9), 0.5 + 3.1 * lines), layout="constrained")
    axes: list[Any] = list(figure.subplots(lines, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes


def _band(panel: Any, x: Any, rows: Sequence[Row], style: dict[str, str]) -> None:
    values, low, high = np.array([row.interval for row in rows], np.float64).reshape(-1, 3).T
    panel.plot(x, values, linewidth=1.8, markersize=5.5, **style)
    if len(x) > 2:
        panel.fill_between(x, low, high, color=style["color"], alpha=0.13, linewidth=0)
    panel.vlines(x, low, high, color=style["color"], linewidth=1)


def _dress(panel: Any, across: str, task: str, row: Row, *, counted: bool = True) -> None:
    metric = metric_of(row.metric)
    count = f"\n{row.n_films:,} test films, {row.n_patients:,} patients" if counted else ""
    unit = f", {metric.unit}" if metric.unit else ""
    style_axes(panel, across=across, down=f"{metric.name}{unit}", title=f"{plain_name(task)}{count}", grid="y")
    panel.tick_params(axis="y", labelsize=8.5)
    if metric.chance is not None:
        panel.axhline(metric.chance, color=GREY, linewidth=1, linestyle=":")


def _films(row: Row) -> str:
    return f"{row.n_train:,}\n({row.n_train_patients:,})"


def _legend(figure: Figure, panel: Any, encoders: Sequence[str], styles: Mapping[str, Any], title: str) -> None:
    handles = [panel.plot([], [], label=name, **styles[name])[0] for name in encoders]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(len(encoders), 5), frameon=False, title=title,
        alignment="left", fontsize=10, title_fontsize=10,
    )  # fmt: skip
