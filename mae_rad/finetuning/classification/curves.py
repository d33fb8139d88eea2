"""Draws the figures of a classification: ROC and precision-recall curves, reliability, confusion."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from data_prep.pages.plot_style import COLOURS, GREY, LINE_STYLES, colour_of, save_png, style_axes
from mae_rad.evaluation.statistics.calibration import BINS, probabilities
from mae_rad.finetuning.results.metrics_table import LabelScores
from mae_rad.heads.interface import Calibration


def draw_curves(films: Mapping[str, LabelScores], areas: Mapping[str, tuple[str, str]], split: str, path: Path) -> None:
    """Draw ROC and precision-recall curves of all labels; lines differ in colour and style.

    Args:
        films: label → scores of films of both classes.
        areas: label → text of the area under each of its two curves.
        split: name of the split.
        path: of the PNG.
    """
    from torchmetrics.functional.classification import (  # noqa: PLC0415 - the import takes seconds
        binary_precision_recall_curve,
        binary_roc,
    )

    figure = Figure(figsize=(12, 5.6), layout="constrained")
    roc, precision_recall = figure.subplots(1, 2)
    for number, (label, scores) in enumerate(films.items()):
        style = {"color": colour_of(number), "linestyle": LINE_STYLES[number % len(LINE_STYLES)]}
        logits, present = torch.from_numpy(scores.logits), torch.from_numpy(scores.present.astype(np.int64))
        false, true, _ = binary_roc(logits, present)
        count = f"{present.sum()} of {len(present)} films present"
        roc.plot(false, true, label=f"{label}: AUROC {areas[label][0]}\n{count}", **style)
        precision, recall, _ = binary_precision_recall_curve(logits, present)
        precision_recall.step(recall, precision, where="post", label=f"{label}: {areas[label][1]}", **style)
        precision_recall.axhline(scores.present.mean(), linewidth=0.8, color=style["color"], alpha=0.4)
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    _format_axes(
        roc, "false positive rate (1 - specificity)", "true positive rate (sensitivity)", f"ROC, {split} films"
    )
    _format_axes(precision_recall, "recall (sensitivity)", "precision", f"precision and recall, {split}; thin: chance")
    save_png(figure, path)


def draw_reliability(
    films: Mapping[str, LabelScores], lines: Mapping[str, Calibration], split: str, path: Path
) -> None:
    """Draw the share of present films over the mean probability of their bin, before and after calibration.

    The area of a mark grows with the number of films in the bin.

    Args:
        films: label → scores of films of both classes.
        lines: label → calibration.
        split: name of the split.
        path: of the PNG.
    """
    figure = Figure(figsize=(4.6 * len(films), 6.4), layout="constrained")
    panels = figure.subplots(2, len(films), sharex=True, squeeze=False, height_ratios=(3, 1))
    for (label, scores), (panel, histogram) in zip(films.items(), panels.T, strict=True):
        for line, name, colour, marker in (
            (Calibration(), "not calibrated", COLOURS[1], "s"),
            (lines[label], "calibrated", COLOURS[0], "o"),
        ):
            probability = probabilities(scores.logits, line)
            bins = np.minimum((probability * BINS).astype(int), BINS - 1)
            filled_bins, counts = np.unique(bins, return_counts=True)
            means = [probability[bins == number].mean() for number in filled_bins]
            shares = [scores.present[bins == number].mean() for number in filled_bins]
            panel.plot(means, shares, color=colour, linewidth=0.8)
            panel.scatter(
                means, shares, 15 + 300 * counts / len(probability), color=colour, marker=marker, label=name, alpha=0.8
            )
            histogram.hist(probability, bins=BINS, range=(0, 1), histtype="step", color=colour)
        panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        _format_axes(panel, "", f"share present, {split} films", label)
        _format_axes(histogram, "probability", "films", "", square=False)
    save_png(figure, path)


def draw_confusion(
    films: Mapping[str, LabelScores],
    lines: Mapping[str, Calibration],
    points: Mapping[str, Mapping[str, float]],
    split: str,
    path: Path,
) -> None:
    """Draw a confusion matrix for each operating point of each label.

    Args:
        films: label → scores of films of both classes.
        lines: label → calibration.
        points: operating point → label → threshold.
        split: name of the split.
        path: of the PNG.
    """
    panels = [(point, label) for point in points for label in films if label in points[point]]
    columns = max(1, len({label for _, label in panels}))
    rows = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(3.9 * columns, 3.7 * rows), layout="constrained")
    for panel, (point, label) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        scores, threshold = films[label], points[point][label]
        positive = probabilities(scores.logits, lines[label]) >= threshold
        counts = np.array(
            [[(positive[scores.present == true] == predicted).sum() for predicted in (1, 0)] for true in (1, 0)]
        )
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for down, across in np.ndindex(2, 2):
            colour = "white" if shares[down, across] > 0.6 else "black"
            text = f"{counts[down, across]}\n{shares[down, across]:.0%}"
            panel.text(across, down, text, ha="center", va="center", color=colour, fontsize=13)
        panel.set_xticks([0, 1], ["predicted present", "predicted absent"])
        panel.set_yticks([0, 1], ["present", "absent"], rotation=90, va="center")
        panel.set_title(f"{label}, {split} films\n{_point_text(point)}: from {threshold:.3f}", fontsize=10)
    save_png(figure, path)


def _point_text(point: str) -> str:
    return f"{point.replace('_', ' ')} % on val"


def _format_axes(panel: Any, across: str, down: str, title: str, *, square: bool = True) -> None:
    style_axes(panel, across=across, down=down, title=title)
    if square:
        panel.set_xlim(-0.02, 1.02)
        panel.set_ylim(-0.02, 1.02)
        panel.set_aspect("equal")
        panel.legend(frameon=False, fontsize=9, loc="best")
