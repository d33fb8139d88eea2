"""Draws the learning curves of a finetuning: loss, validation and learning rate over optimiser steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from data_prep.pages.plot_style import COLOURS, GREY, save_png, style_axes

_VALIDATION = "val/"
_COLUMNS = 3
_MAX_PANELS = 6
_TITLES = {"loss": "training loss", "learning_rate": "learning rate", "val/ap50": "AP50, val films"}

Logged = Sequence[tuple[int, Mapping[str, float]]]
"""Step and metrics of each logged line, in order."""
Curve = list[tuple[int, float]]
"""(step, value)."""


def draw_learning_curves(logged: Logged, best_step: int, path: Path) -> Path | None:
    """Draw a panel per quantity, with a line at the step whose weights were kept.

    Args:
        logged: step and metrics of each logged line, in order; metrics of single labels are left out.
        best_step: step of the best weights.
        path: of the PNG.

    Returns:
        ``path``; None if nothing was logged.
    """
    curves: dict[str, Curve] = {}
    for step, values in logged:
        for name in values:
            if name in ("loss", "learning_rate") or _is_mean_of_validation(name):
                curves.setdefault(name, []).append((step, values[name]))
    rate = {name: curves.pop(name) for name in ("learning_rate",) if name in curves}
    panels = dict([*sorted(curves.items(), key=lambda curve: curve[0] != "loss")[: _MAX_PANELS - 1], *rate.items()])
    if not panels:
        return None
    columns = min(len(panels), _COLUMNS)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.1 * columns, 3.0 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for panel, (name, curve) in zip(axes, panels.items(), strict=False):
        marker = "o" if name.startswith(_VALIDATION) or len(curve) == 1 else None
        panel.plot(*zip(*curve, strict=True), color=COLOURS[0], linewidth=1.6, marker=marker, markersize=4)
        panel.axvline(best_step, color=GREY, linewidth=1, linestyle=":")
        style_axes(panel, across="optimiser step", title=_title(name), grid="y")
    for panel in axes[len(panels) :]:
        panel.set_visible(False)
    return save_png(figure, path)


def _is_mean_of_validation(name: str) -> bool:
    return name.startswith(_VALIDATION) and name.count("/") == 1


def _title(name: str) -> str:
    plain = name.removeprefix(_VALIDATION).replace("_", " ").replace("auroc", "AUROC").replace("r2", "R²")
    return _TITLES.get(name, f"{plain}, val films")
