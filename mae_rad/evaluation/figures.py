"""Figures of a comparison: metrics and differences with their intervals, and maps of the embeddings.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; every encoder also has its own marker.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mae_rad.evaluation.intervals import Interval
from mae_rad.evaluation.report import METRIC_NAMES, PROBE_NAMES
from mae_rad.evaluation.rows import FLOOR, Row
from mae_rad.evaluation.vectors import of_array, scale_of

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_GREY = "#7f7f7f"
_PER_PAGE = 8
"""Task × probe groups on one figure; more make more figures."""
_MAP_FILMS = 3000
_MAP_CLASSES = 7
_DPI = 150


def draw_forest(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw ``comparison-1.png``, …: per task and probe the metric of every encoder and its difference to the floor."""
    rows = [row for row in rows if row.metric in METRIC_NAMES]
    groups = list(dict.fromkeys((row.task, row.probe) for row in rows))
    for old in folder.glob("comparison-*.png"):  # of an earlier comparison with more tasks
        old.unlink()
    paths = []
    for page, start in enumerate(range(0, len(groups), _PER_PAGE), 1):
        shown = groups[start : start + _PER_PAGE]
        figure = _forest([row for row in rows if (row.task, row.probe) in shown], shown)
        paths.append(folder / f"comparison-{page}.png")
        figure.savefig(paths[-1], dpi=_DPI)
    return paths


def _forest(rows: Sequence[Row], groups: Sequence[tuple[str, str]]) -> Figure:
    encoders = list(dict.fromkeys(row.encoder for row in rows))
    styles = {name: _style(name, number) for number, name in enumerate(encoders)}
    with_floor = any(row.reference == FLOOR for row in rows)
    height = 1.9 + len(groups) * (0.42 + 0.2 * len(encoders))
    figure = Figure(figsize=(12.5 if with_floor else 8, height), layout="constrained")
    axes: NDArray[Any] = figure.subplots(1, 2 if with_floor else 1, sharey=True, squeeze=False)[0]
    for number, (task, probe) in enumerate(groups):
        here = [row for row in rows if (row.task, row.probe) == (task, probe)]
        for place, name in enumerate(encoders):
            y = number + (place - (len(encoders) - 1) / 2) * 0.8 / (len(encoders) + 0.6)
            for row in here:
                if row.encoder == name and row.reference is None:
                    _draw(axes[0], row.interval, y, f"{row.interval.value:.3f}", styles[name])
                elif row.encoder == name and row.reference == FLOOR and row.difference is not None:
                    _draw(axes[1], row.difference, y, f"{row.difference.value:+.3f}".replace("-", "−"), styles[name])
    _dress(axes, groups, rows)
    handles = [axes[0].plot([], [], linestyle="", markersize=7, label=name, **styles[name])[0] for name in encoders]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(encoders), 4), frameon=False, fontsize=11)
    return figure


def _draw(axes: Any, interval: Interval, y: float, text: str, style: dict[str, str]) -> None:
    """A marker with its interval; the value stands behind the upper bound."""
    if np.isfinite(interval.low):
        axes.plot([interval.low, interval.high], [y, y], color=style["color"], linewidth=2, solid_capstyle="butt")
    axes.plot(interval.value, y, linestyle="", markersize=7, **style)
    end = np.nanmax([interval.value, interval.high])
    axes.annotate(text, (end, y), (7, 0), textcoords="offset points", va="center", fontsize=9, color="#333333")


def _dress(axes: NDArray[Any], groups: Sequence[tuple[str, str]], rows: Sequence[Row]) -> None:
    first = {group: next(row for row in rows if (row.task, row.probe) == group) for group in groups}
    axes[0].set_yticks(range(len(groups)), [_group_label(first[group]) for group in groups], fontsize=10)
    axes[0].set_ylim(len(groups) - 0.5, -0.5)
    metrics = " or ".join(dict.fromkeys(METRIC_NAMES[row.metric] for row in rows))
    axes[0].set_xlabel(f"{metrics} on test films, 0.5 is chance\n95 % interval over patients", fontsize=10)
    axes[0].axvline(0.5, color=_GREY, linewidth=1, linestyle=":")
    if len(axes) > 1:
        axes[1].set_xlabel(f"difference to the {FLOOR} on the same films\n95 % interval over patients", fontsize=10)
        axes[1].axvline(0, color=_GREY, linewidth=1, linestyle=":")
    for panel in axes:
        panel.margins(x=0.15)
        panel.grid(axis="x", color="#e5e5e5")
        panel.set_axisbelow(True)
        panel.tick_params(axis="y", length=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
        for line in np.arange(len(groups) - 1) + 0.5:
            panel.axhline(line, color="#cccccc", linewidth=0.8)


def _group_label(row: Row) -> str:
    task = "\n".join(textwrap.wrap(row.task, 28))
    return f"{task}\n{PROBE_NAMES[row.probe]}\n{row.n_films:,} films, {row.n_patients:,} patients"


def _style(name: str, number: int) -> dict[str, str]:
    if name.startswith(FLOOR):
        return {"color": _GREY, "marker": "o", "markerfacecolor": "white"}
    return {"color": _COLOURS[number % len(_COLOURS)], "marker": _MARKERS[number % len(_MARKERS)]}


def draw_map(encoders: Mapping[str, NDArray[np.float32]], classes: NDArray[np.object_], name: str, path: Path) -> Path:
    """Draw the first two principal components of every encoder's films, coloured by class.

    Args:
        encoders: name → vectors [N, D] of the same films in the same order.
        classes: [N] class of each film, empty where it has none; the seven most frequent have a colour.
        name: what the classes are, for the legend.
        path: PNG.
    """
    films = np.flatnonzero(classes != "")
    films = np.sort(np.random.default_rng(0).permutation(films)[:_MAP_FILMS])
    names, counts = np.unique(classes[films].astype(str), return_counts=True)
    frequent = [str(names[i]) for i in np.argsort(-counts, kind="stable")[:_MAP_CLASSES]]
    columns = min(len(encoders), 3)
    lines = -(-len(encoders) // columns)
    figure = Figure(figsize=(4.6 * columns + 1.6, 4.6 * lines), layout="constrained")
    panels: list[Any] = list(figure.subplots(lines, columns, squeeze=False).flat)
    for panel, (encoder, matrix) in zip(panels, encoders.items(), strict=False):
        points, explained = _principal(matrix[films])
        for number, value in enumerate(frequent):
            here = classes[films] == value
            style = {"color": _COLOURS[number], "marker": _MARKERS[number]}
            panel.plot(*points[here].T, linestyle="", markersize=5, alpha=0.7, markeredgewidth=0, label=value, **style)
        others = ~np.isin(classes[films].astype(str), frequent)
        if others.any():
            panel.plot(*points[others].T, linestyle="", marker=".", color="#c0c0c0", label="other", zorder=0)
        panel.set_title(encoder, fontsize=12)
        panel.set_xlabel(f"component 1 ({explained[0]:.0%} of the variance)", fontsize=10)
        panel.set_ylabel(f"component 2 ({explained[1]:.0%})", fontsize=10)
        panel.set_xticks([])
        panel.set_yticks([])
    for panel in panels[len(encoders) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    title = f"{name}\n{len(films):,} films"
    figure.legend(handles, labels, loc="outside right upper", title=title, frameon=False, markerscale=1.5, fontsize=10)
    figure.savefig(path, dpi=_DPI)
    return path


def _principal(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[N, 2] projections of standardised vectors, and the fraction of the variance each explains."""
    x = scale_of(of_array(matrix)).apply(matrix)
    variance, directions = np.linalg.eigh(np.cov(x.T.astype(np.float64)))
    return x @ directions[:, :-3:-1], variance[:-3:-1] / variance.sum()
