"""Figures of a final judgement: ROC and precision-recall curves, reliability, confusion.

Lines differ in colour and in style.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from data_prep.pages.plot_style import COLOURS, DPI, GREY, LINE_STYLES, colour_of, dress_axes
from data_prep.runtime.atomic_write import atomic_file
from mae_rad.evaluation.statistics.calibration import BINS, probabilities
from mae_rad.finetuning.results.metrics_table import ALL, LabelScores, Result
from mae_rad.heads.interface import Line


def draw_curves(films: Mapping[str, LabelScores], areas: Mapping[str, tuple[str, str]], split: str, path: Path) -> None:
    """ROC and precision-recall curves of all labels.

    Args:
        films: label → films of both classes.
        areas: label → area under each of its curves, in words.
        split: of the films.
        path: PNG.
    """
    from torchmetrics.functional.classification import (  # noqa: PLC0415 - seconds, and only where films are judged
        binary_precision_recall_curve,
        binary_roc,
    )

    figure = Figure(figsize=(12, 5.6), layout="constrained")
    roc, precision_recall = figure.subplots(1, 2)
    for number, (label, asked) in enumerate(films.items()):
        style = {"color": colour_of(number), "linestyle": LINE_STYLES[number % len(LINE_STYLES)]}
        logits, present = torch.from_numpy(asked.logits), torch.from_numpy(asked.present.astype(np.int64))
        false, true, _ = binary_roc(logits, present)
        count = f"{present.sum()} of {len(present)} films present"
        roc.plot(false, true, label=f"{label}: AUROC {areas[label][0]}\n{count}", **style)
        precision, recall, _ = binary_precision_recall_curve(logits, present)
        precision_recall.step(recall, precision, where="post", label=f"{label}: {areas[label][1]}", **style)
        precision_recall.axhline(asked.present.mean(), linewidth=0.8, color=style["color"], alpha=0.4)
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    _dress(roc, "false positive rate (1 - specificity)", "true positive rate (sensitivity)", f"ROC, {split} films")
    _dress(precision_recall, "recall (sensitivity)", "precision", f"precision and recall, {split}; thin: chance")
    _save(figure, path)


def draw_reliability(films: Mapping[str, LabelScores], lines: Mapping[str, Line], split: str, path: Path) -> None:
    """Share of present films against the mean probability of their bin, before and after calibration.

    A bin of more films has a larger mark.
    """
    figure = Figure(figsize=(4.6 * len(films), 6.4), layout="constrained")
    panels = figure.subplots(2, len(films), sharex=True, squeeze=False, height_ratios=(3, 1))
    for (label, asked), (panel, below) in zip(films.items(), panels.T, strict=True):
        for line, name, colour, marker in (
            (Line(), "as it came", COLOURS[1], "s"),
            (lines[label], "calibrated", COLOURS[0], "o"),
        ):
            told = probabilities(asked.logits, line)
            bins = np.minimum((told * BINS).astype(int), BINS - 1)
            full, counts = np.unique(bins, return_counts=True)
            means = [told[bins == one].mean() for one in full]
            shares = [asked.present[bins == one].mean() for one in full]
            panel.plot(means, shares, color=colour, linewidth=0.8)
            panel.scatter(
                means, shares, 15 + 300 * counts / len(told), color=colour, marker=marker, label=name, alpha=0.8
            )
            below.hist(told, bins=BINS, range=(0, 1), histtype="step", color=colour)
        panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        _dress(panel, "", f"share present, {split} films", label)
        _dress(below, "probability", "films", "", square=False)
    _save(figure, path)


def draw_confusion(
    films: Mapping[str, LabelScores],
    lines: Mapping[str, Line],
    points: Mapping[str, Mapping[str, float]],
    split: str,
    path: Path,
) -> None:
    """Films by what is true and what is told, at each operating point of each label."""
    shown = [(point, label) for point in points for label in films if label in points[point]]
    columns = max(1, len({label for _, label in shown}))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(3.9 * columns, 3.7 * rows), layout="constrained")
    for panel, (point, label) in zip(figure.subplots(rows, columns, squeeze=False).flat, shown, strict=False):
        asked, threshold = films[label], points[point][label]
        called = probabilities(asked.logits, lines[label]) >= threshold
        counts = np.array([[(called[asked.present == is_] == told).sum() for told in (1, 0)] for is_ in (1, 0)])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for down, across in np.ndindex(2, 2):
            colour = "white" if shares[down, across] > 0.6 else "black"
            text = f"{counts[down, across]}\n{shares[down, across]:.0%}"
            panel.text(across, down, text, ha="center", va="center", color=colour, fontsize=13)
        panel.set_xticks([0, 1], ["told present", "told absent"])
        panel.set_yticks([0, 1], ["present", "absent"], rotation=90, va="center")
        panel.set_title(f"{label}, {split} films\n{_words(point)}: from {threshold:.3f}", fontsize=10)
    _save(figure, path)


def draw_subgroups(areas: Sequence[Result], path: Path) -> None:
    """AUROC of all films and of each part of them, with intervals.

    Args:
        areas: of one split.
        path: PNG.
    """
    labels = list(dict.fromkeys(one.label for one in areas))
    subsets = list(dict.fromkeys(one.subset for one in areas))
    figure = Figure(figsize=(4.6 * len(labels) + 1.6, 1.4 + 0.42 * len(subsets)), layout="constrained")
    for label, panel in zip(labels, figure.subplots(1, len(labels), sharey=True, squeeze=False)[0], strict=True):
        for one in areas:
            if one.label == label:
                down, colour = subsets.index(one.subset), COLOURS[0] if one.subset == ALL else GREY
                if np.isfinite(one.low):
                    panel.plot([one.low, one.high], [down, down], color=colour, linewidth=2)
                panel.plot(one.value, down, marker="o", color=colour, markersize=6)
                text = f"{one.value:.2f}, {one.n_present} of {one.n_films}"
                panel.annotate(text, (1.03, down), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        panel.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        panel.set_yticks(range(len(subsets)), subsets, fontsize=9)
        panel.set_ylim(len(subsets) - 0.5, -0.5)
        panel.set_xlim(0, 1.02)
        _dress(panel, f"AUROC, {areas[0].split} films, 95 % over patients", "", f"{label}", square=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def _words(point: str) -> str:
    return f"{point.replace('_', ' ')} % on val"


def _dress(panel: Any, across: str, down: str, title: str, *, square: bool = True) -> None:
    dress_axes(panel, across=across, down=down, title=title)
    if square:
        panel.set_xlim(-0.02, 1.02)
        panel.set_ylim(-0.02, 1.02)
        panel.set_aspect("equal")
        panel.legend(frameon=False, fontsize=9, loc="best")
