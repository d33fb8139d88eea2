"""Chooses and draws example films of a detection: found, missed, false alarm, correctly without a box."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.apply_display import display_table
from mae_rad.data.box_frames import whole_film_frame
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.evaluation.detection.froc import centres_inside
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.finetuning.detection.example_sheet import FilmWithBoxes, box_sheet

FILMS_PER_OUTCOME = 4


class FilmView(NamedTuple):
    """Films at the resolution of the model.

    Attributes:
        shards: index of the films.
        tokens: T.
        patch: side of a patch in pixels.
    """

    shards: ShardIndex
    tokens: int
    patch: int


def draw_gallery(
    heading: str,
    title: str,
    rows: NDArray[np.int64],
    films: Sequence[FilmDetections],
    threshold: float,
    view: FilmView,
    folder: Path,
) -> None:
    """Draw ``films-<label>-right.png`` and ``-wrong.png``: films at one operating point, with their boxes.

    Args:
        heading: label and split, for the title of the sheets.
        title: name of the label.
        rows: [F] rows of the index.
        films: boxes of F films, in source raster pixels.
        threshold: lowest score of a box that is drawn.
        view: films and their resolution.
        folder: receives the pictures.
    """
    thresholded = [_above_threshold(film, threshold) for film in films]
    outcomes = _outcomes(thresholded)
    name = re.sub(r"\W+", "_", title)
    for correctness in ("right", "wrong"):
        positions_to_draw = [
            position
            for outcome, positions in outcomes.items()
            if outcome[0] == correctness
            for position in positions[:FILMS_PER_OUTCOME]
        ]
        sheet_films = [
            film
            for position in positions_to_draw
            if (film := _film_with_boxes(int(rows[position]), thresholded[position], view)) is not None
        ]
        if sheet_films:
            sheet_title = f"{heading}: {correctness} ones of {len(films)}, boxes with a score from {threshold:.2f} on"
            with atomic_file(folder / f"films-{name}-{correctness}.png") as file:
                box_sheet(sheet_films, sheet_title).save(file, format="PNG")


def _above_threshold(film: FilmDetections, threshold: float) -> FilmDetections:
    is_above = film.scores >= threshold
    return film._replace(predicted=film.predicted[is_above], scores=film.scores[is_above])


def _outcomes(films: Sequence[FilmDetections]) -> dict[tuple[str, str], list[int]]:
    """(right or wrong, outcome) → positions of the films."""
    outcomes: dict[tuple[str, str], list[int]] = {
        ("right", "found"): [], ("right", "no box"): [], ("wrong", "missed"): [], ("wrong", "false alarm"): [],
    }  # fmt: skip
    for position, film in enumerate(films):
        inside = centres_inside(film)
        is_missed, has_false_positive = not inside.any(axis=0).all(), not inside.any(axis=1).all()
        if is_missed:
            outcomes["wrong", "missed"].append(position)
        elif has_false_positive:
            outcomes["wrong", "false alarm"].append(position)
        else:
            outcomes["right", "found" if len(film.true) else "no box"].append(position)
    return outcomes


def _film_with_boxes(row: int, film: FilmDetections, view: FilmView) -> FilmWithBoxes | None:
    try:
        whole = view.shards.film(row)
    except FilmUnreadableError:
        return None
    sidecar = whole.sidecar
    layout = whole.layout(view.tokens, view.patch)
    frame = whole_film_frame(whole, view.tokens, view.patch)
    inside = centres_inside(film)
    return FilmWithBoxes(
        caption=", ".join(part for part in (sidecar.body_part, sidecar.view) if part) or "film",
        image=display_table(sidecar.display)[whole.values(layout, view.patch)],
        true=frame.from_source(film.true),
        found=np.asarray(inside.any(axis=0)),
        predicted=frame.from_source(film.predicted),
        scores=film.scores,
        right=np.asarray(inside.any(axis=1)),
    )
