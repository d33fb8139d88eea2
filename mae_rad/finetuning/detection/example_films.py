"""Which films of a test set are shown with their boxes: well found ones, missed ones, false alarms, quiet ones."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.apply_display import display_table
from mae_rad.data.box_frames import whole_film_frame
from mae_rad.data.patch_layout import film_layout
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.evaluation.detection.froc import centres_inside
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.finetuning.detection.example_sheet import FilmWithBoxes, box_sheet

PER_KIND = 4


class FilmView(NamedTuple):
    """How films are shown: as the model sees them."""

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
        heading: label and split, in words.
        title: of the label.
        rows: of the films in the index.
        films: their boxes, in source raster pixels.
        threshold: on the score; boxes below it are not drawn.
        view: shows them.
        folder: of the pictures.
    """
    drawn = [_at(film, threshold) for film in films]
    kinds = _kinds(drawn)
    name = re.sub(r"\W+", "_", title)
    for verdict in ("right", "wrong"):
        chosen = [place for kind, places in kinds.items() if kind[0] == verdict for place in places[:PER_KIND]]
        shown = [one for place in chosen if (one := _shown(int(rows[place]), drawn[place], view)) is not None]
        if shown:
            words = f"{heading}: {verdict} ones of {len(films)}, boxes with a score from {threshold:.2f} on"
            with atomic_file(folder / f"films-{name}-{verdict}.png") as file:
                box_sheet(shown, words).save(file, format="PNG")


def _at(film: FilmDetections, threshold: float) -> FilmDetections:
    sure = film.scores >= threshold
    return film._replace(predicted=film.predicted[sure], scores=film.scores[sure])


def _kinds(films: Sequence[FilmDetections]) -> dict[tuple[str, str], list[int]]:
    """(right or wrong, how) → films; those with boxes first, of them the ones with the most to see."""
    kinds: dict[tuple[str, str], list[int]] = {
        ("right", "found"): [], ("right", "quiet"): [], ("wrong", "missed"): [], ("wrong", "false alarm"): [],
    }  # fmt: skip
    for place, film in enumerate(films):
        inside = centres_inside(film)
        missed, false = not inside.any(axis=0).all(), not inside.any(axis=1).all()
        if missed:
            kinds["wrong", "missed"].append(place)
        elif false:
            kinds["wrong", "false alarm"].append(place)
        else:
            kinds["right", "found" if len(film.true) else "quiet"].append(place)
    return kinds


def _shown(row: int, film: FilmDetections, view: FilmView) -> FilmWithBoxes | None:
    try:
        whole = view.shards.film(row)
    except FilmUnreadableError:
        return None
    sidecar = whole.sidecar
    layout = film_layout(sidecar.rows, sidecar.columns, whole.box, view.tokens, view.patch)
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
