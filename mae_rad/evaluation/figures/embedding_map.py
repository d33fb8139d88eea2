"""Draw maps of the embeddings: the first two principal components, coloured by a property of the films."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data_prep.pages.plot_style import save_png
from mae_rad.embedding.standardised_rows import fit_scale, vectors_of_array
from mae_rad.evaluation.figures.style import class_style

FILMS = 3000
CLASSES = 7
"""Number of classes with a colour, the most frequent ones."""
_COLUMNS = 3
_OTHER = "#c0c0c0"

Vectors = NDArray[np.float32]


def draw_map(
    encoders: Mapping[str, Vectors],
    classes: NDArray[np.object_],
    patients: NDArray[np.int64],
    name: str,
    path: Path,
    *,
    min_patients: int,
) -> Path | None:
    """Draw the films of every encoder as points, one panel per encoder.

    Args:
        encoders: name → vectors [N, D] of the same films in the same order.
        classes: [N] value of each film, empty where it has none; the most frequent have a colour.
        patients: [N] number of the patient of each film.
        name: name of the property, for the legend.
        path: PNG file to write.
        min_patients: values that fewer patients share are not named.

    Returns:
        The file; None if fewer than two values can be named.
    """
    films = np.flatnonzero(classes != "")
    films = np.sort(np.random.default_rng(0).permutation(films)[:FILMS])
    named_values = nameable(classes[films], patients[films], min_patients)[:CLASSES]
    if len(named_values) < 2:
        return None
    columns = 2 if len(encoders) == 4 else min(len(encoders), _COLUMNS)
    lines = -(-len(encoders) // columns)
    figure = Figure(figsize=(4.1 * columns + 1.9, 4.1 * lines), layout="constrained")
    panels: list[Any] = list(figure.subplots(lines, columns, squeeze=False).flat)
    for panel, (encoder, matrix) in zip(panels, encoders.items(), strict=False):
        _scatter(panel, encoder, principal(matrix[films]), classes[films], named_values)
    for panel in panels[len(encoders) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    title = f"{name}\n{len(films):,} test films of {len(np.unique(patients[films])):,} patients"
    figure.legend(handles, labels, loc="outside right upper", title=title, frameon=False, markerscale=1.5, fontsize=10)
    return save_png(figure, path)


def nameable(classes: NDArray[np.object_], patients: NDArray[np.int64], min_patients: int) -> list[str]:
    """Return the values that at least ``min_patients`` patients share, the most frequent first.

    Args:
        classes: [N] value of each film, empty where it has none.
        patients: [N] number of the patient of each film.
        min_patients: number of patients.
    """
    names, counts = np.unique(classes.astype(str), return_counts=True)
    ordered = [str(names[place]) for place in np.argsort(-counts, kind="stable")]
    return [name for name in ordered if name and len(np.unique(patients[classes == name])) >= min_patients]


def principal(matrix: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project vectors [N, D], standardised, on two principal components.

    Returns:
        [N, 2] projections, and the fraction of the variance that each component explains (0 for equal vectors).
    """
    x = fit_scale(vectors_of_array(matrix)).apply(matrix)
    variance, directions = np.linalg.eigh(np.cov(x.T.astype(np.float64)))
    return x @ directions[:, :-3:-1], variance[:-3:-1] / max(float(variance.sum()), 1e-12)


def _scatter(
    panel: Any,
    encoder: str,
    projected: tuple[NDArray[np.float64], NDArray[np.float64]],
    classes: NDArray[np.object_],
    named_values: Sequence[str],
) -> None:
    points, explained = projected
    for number, value in enumerate(named_values):
        in_class = classes == value
        label = f"{value} ({in_class.sum():,})"
        panel.plot(
            *points[in_class].T,
            linestyle="",
            markersize=5,
            alpha=0.7,
            markeredgewidth=0,
            label=label,
            **class_style(number),
        )
    others = ~np.isin(classes.astype(str), named_values)
    if others.any():
        label = f"other ({others.sum():,})"
        panel.plot(*points[others].T, linestyle="", marker=".", color=_OTHER, label=label, zorder=0)
    panel.set_title(encoder, fontsize=12)
    panel.set_xlabel(f"component 1, {explained[0]:.0%} of the variance", fontsize=10)
    panel.set_ylabel(f"component 2, {explained[1]:.0%}", fontsize=10)
    panel.set_xticks([])
    panel.set_yticks([])
