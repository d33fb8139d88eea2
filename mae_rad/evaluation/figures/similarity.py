"""Draw the similarity of the embeddings of every two encoders as a matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mae_rad.evaluation.results.rows import Row


def similarity_matrix(rows: Sequence[Row]) -> Figure | None:
    """Draw the linear CKA of every two encoders; None without rows.

    Args:
        rows: rows of the metric linear_cka; the value is that of ``encoder`` and ``reference``.
    """
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in (row.encoder, str(row.reference))))
    values = np.eye(len(names))
    for row in rows:
        first, second = names.index(row.encoder), names.index(str(row.reference))
        values[first, second] = values[second, first] = row.interval.value
    side = 1.6 + 0.75 * len(names)
    figure = Figure(figsize=(side + 1.6, side), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(values, cmap="cividis", vmin=0, vmax=1, edgecolors="white")  # cells, not an image: sharp in print
    axes.set_aspect("equal")
    axes.invert_yaxis()
    for place, value in np.ndenumerate(values):
        axes.text(
            place[1] + 0.5,
            place[0] + 0.5,
            f"{value:.2f}",
            ha="center",
            va="center",
            color="black" if value > 0.55 else "white",
        )
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=30, ha="right")
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(
        f"linear CKA, 0 to 1, on {rows[0].n_films:,} test films of {rows[0].n_patients:,} patients", fontsize=10
    )
    return figure
