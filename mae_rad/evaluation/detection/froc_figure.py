"""Draw the FROC curve of each label with its confidence band over patients."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data_prep.pages.plot_style import colour_of, save_png, style_axes
from data_prep.statistics.patient_bootstrap import LEVEL, resamples
from mae_rad.evaluation.detection.froc import RATES, rank_centres, sensitivities
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections

_CURVE = np.geomspace(1 / 16, 16, 97)


def draw_froc(
    labels: Mapping[str, Sequence[FilmDetections]],
    patients: Mapping[str, NDArray[np.int64]],
    path: Path,
    *,
    split: str,
    repetitions: int,
    seed: int = 0,
) -> None:
    """Draw sensitivity against false positives per film.

    Args:
        labels: label → its films.
        patients: label → [N] number of the patient of each film.
        path: PNG file to write.
        split: split of the films, for the axis label.
        repetitions: number of bootstrap resamples of the patients.
        seed: seed of the resamples.
    """
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    for number, (label, films) in enumerate(labels.items()):
        ranking, colour = rank_centres(films), colour_of(number)
        objects = int(ranking.objects.sum())
        if objects == 0:
            continue
        curve = sensitivities(ranking, np.ones((1, len(films))), _CURVE.tolist())[0]
        resampled_curves = np.concatenate(
            [
                sensitivities(ranking, weights, _CURVE.tolist())
                for weights in resamples(patients[label], repetitions=repetitions, seed=seed)
            ]
        )
        low, high = np.nanquantile(resampled_curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        axes.fill_between(_CURVE, low, high, color=colour, alpha=0.2, linewidth=0)
        patient_count = len(np.unique(patients[label]))
        axes.plot(
            _CURVE, curve, color=colour, label=f"{label}: {objects} boxes, {len(films)} films, {patient_count} patients"
        )
        at_rates = sensitivities(ranking, np.ones((1, len(films))), RATES)[0]
        axes.plot(RATES, at_rates, color=colour, marker="o", linestyle="", clip_on=False)
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
    axes.set_xlim(_CURVE[0], _CURVE[-1])
    axes.set_ylim(0, 1)
    across, down = f"false positives per film, {split} films", f"sensitivity, with {LEVEL:.0%} band over patients"
    style_axes(axes, across=across, down=down)
    if axes.lines:
        axes.legend(loc="upper left", frameon=False)
    else:
        axes.text(0.5, 0.5, f"no {split} film has a box", transform=axes.transAxes, ha="center")
    save_png(figure, path)
