"""How alike the encoders arrange the same films, as a square of numbers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mae_rad.evaluation.results.rows import Row


def similarity_matrix(rows: Sequence[Row]) -> Figure | None:
    """Centred kernel alignment of every two encoders; None without rows.

    Args:
        rows: of the metric linear_cka, of ``encoder`` and ``reference`` together.
    """
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in (row.encoder, str(row.reference))))
    values = np.eye(len(names))
    for row in rows:
        one, other = names.index(row.encoder), names.index(str(row.reference))
        values[one, other] = values[other, one] = row.interval.value
    side = 1.6 + 0.75 * len(names)
    figure = Figure(figsize=(side + 1.6, side), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(values, cmap="cividis", vmin=0, vmax=1, edgecolors="white")  # cells, not a picture: sharp in print
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
