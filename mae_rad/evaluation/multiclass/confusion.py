"""The confusion of classes that exclude each other, as a table and as a picture.

Legend: N films, C classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data_prep.pages.plot_style import save_png

_MAX_COUNTED = 20
"""With more classes, the cells have no numbers."""


def confusion_table(
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    classes: Sequence[str],
    patients: NDArray[np.int64],
    **constant: str,
) -> pa.Table:
    """Count films and patients of every pair of true and predicted class that occurs.

    Args:
        true: [N] class.
        predicted: [N] class.
        classes: C names.
        patients: [N] number of the patient.
        constant: name → value of a column before these, such as the split.

    Returns:
        Columns of ``constant``, then class, predicted, films, patients.
    """
    rows = []
    for cell in np.unique(np.stack([true, predicted], axis=1), axis=0).tolist():
        members = patients[(true == cell[0]) & (predicted == cell[1])]
        rows.append((*constant.values(), *(classes[one] for one in cell), len(members), len(np.unique(members))))
    texts, counts = (*constant, "class", "predicted"), ("films", "patients")
    schema = pa.schema([(name, pa.string()) for name in texts] + [(name, pa.int64()) for name in counts])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)


def draw_confusion(
    true: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str], title: str, path: Path
) -> None:
    """Draw films by true (rows) and predicted class, coloured by their share of the true class; no films, no number.

    Args:
        true: [N] class.
        predicted: [N] class.
        classes: C names; a class without a film has an empty row.
        title: above the matrix.
        path: of the PNG.
    """
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    side = 2.4 + max(2.6, 0.75 * len(classes))
    figure = Figure(figsize=(side, side + 0.6), layout="constrained")
    panel = figure.subplots()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 12 if len(classes) <= 6 else 8
    for down, across in np.ndindex(*counts.shape) if len(classes) <= _MAX_COUNTED else ():
        if counts[down, across]:
            colour = "white" if shares[down, across] > 0.6 else "black"
            text = f"{counts[down, across]}\n{shares[down, across]:.0%}"
            panel.text(across, down, text, ha="center", va="center", color=colour, fontsize=size)
    places = range(len(classes))
    panel.set_xticks(
        places, classes, rotation=45 if len(classes) > 3 else 0, ha="right" if len(classes) > 3 else "center"
    )
    panel.set_yticks(places, [f"{name} ({count})" for name, count in zip(classes, totals[:, 0].tolist(), strict=True)])
    panel.set_xlabel("predicted")
    panel.set_ylabel("true (films)")
    panel.set_title(title, fontsize=10)
    save_png(figure, path)
