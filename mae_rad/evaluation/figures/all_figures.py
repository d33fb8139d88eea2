"""All figures of a comparison as files, for MLflow and, where the numbers alone do not make them, for the page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.apply_display import display_table
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import Layout, Region
from mae_rad.data.shard_reader import FilmUnreadableError
from mae_rad.embedding.nearest_neighbours import nearest
from mae_rad.embedding.standardised_rows import Standardised, Vectors, scale_of
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs
from mae_rad.evaluation.comparison.tasks import Films
from mae_rad.evaluation.figures.curves import by_size, label_efficiency
from mae_rad.evaluation.figures.embedding_map import draw_map, nameable
from mae_rad.evaluation.figures.forest import draw_values, pair_forest
from mae_rad.evaluation.figures.neighbour_sheet import NEIGHBOURS, QUERIES, FilmNeighbours, neighbour_sheet, sample_rows
from mae_rad.evaluation.figures.similarity import similarity_matrix
from mae_rad.evaluation.figures.style import save_png
from mae_rad.evaluation.results.display_names import plain
from mae_rad.evaluation.results.queries import Reading

_FILMS = 20_000
"""Films that are mapped, and among which neighbours are looked for, at most."""
_SHEETS = 4
"""Encoders whose neighbours are drawn: the first ones."""
_MAP_LABELS = 3
"""Labels that maps are coloured by, at most."""
_SIDE = 384


def draw_numbers(reading: Reading, folder: Path) -> list[Path]:
    """Figures of the numbers; those of an earlier comparison go."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    paths = draw_values(reading, folder)
    for encoder, reference, arm in reading.pairs:
        name = f"difference-{encoder}-{reference}" + ("" if arm == "none" else f"-{arm}")
        paths.append(save_png(pair_forest(reading, encoder, reference, arm), folder / f"{_file(name)}.png"))
    for name, draw in (("label-efficiency", label_efficiency), ("size", by_size)):
        for probe in reading.probes:
            figure = draw(reading, probe)
            if figure is not None:
                paths.append(save_png(figure, folder / f"{name}-{probe}.png"))
    similarity = similarity_matrix([row for row in reading.of_probe("geometry") if row.metric == "linear_cka"])
    if similarity is not None:
        paths.append(save_png(similarity, folder / "similarity.png"))
    return paths


def draw_embeddings(stage: ComparisonInputs, folder: Path, *, min_patients: int) -> list[Path]:
    """Maps of the test films and neighbours of some of them; a value that fewer patients share is not named."""
    films = stage.films
    test = np.flatnonzero(stage.usable & (films.split == "test"))
    test = np.sort(np.random.default_rng(0).permutation(test)[:_FILMS])
    if len(test) <= NEIGHBOURS:
        return []
    shown = [encoder for encoder in stage.encoders if encoder.candidate.method != "random"]
    shown += [encoder for encoder in stage.encoders if encoder.candidate.method == "random"][:1]
    matrices = {encoder.name: encoder.vectors(stage.first, test) for encoder in shown}
    arrays = {name: vectors.array() for name, vectors in matrices.items()}
    paths = []
    for name, values in _colourings(stage).items():
        path = folder / f"map-{_file(name)}.png"
        drawn = draw_map(arrays, values[test], films.patients[test], plain(name), path, min_patients=min_patients)
        paths += [drawn] if drawn else []
    captions = _captions(films, test, min_patients)
    queries = sample_rows(captions, np.arange(len(test)), QUERIES)
    for name, vectors in list(matrices.items())[:_SHEETS]:
        found = _nearest(vectors, films.patients[test], queries)
        path = folder / f"neighbours-{_file(name)}.png"
        try:
            paths.append(
                neighbour_sheet(
                    name, found, lambda row: _shown(films.index.film(int(test[row]))), captions, path, films=len(test)
                )
            )
        except FilmUnreadableError:  # the numbers stand without the picture; `verify` finds the film
            continue
    return paths


def _colourings(stage: ComparisonInputs) -> dict[str, NDArray[np.object_]]:
    """What films are coloured by: body part, view, scanner, and the first labels that are asked."""
    films = stage.films
    told = {"body_part": films.words("body_part"), "view": films.words("view")}
    makers, models = films.words("manufacturer"), films.words("model")
    told["scanner"] = np.array([f"{one} {other}".strip() for one, other in zip(makers, models, strict=True)], object)
    for task in [task for task in stage.tasks if task.label is not None][:_MAP_LABELS]:
        values = np.full(len(films.keys), "", dtype=object)
        values[task.rows] = np.array(task.classes, dtype=object)[task.y]
        told[task.name] = values
    return told


def _captions(films: Films, rows: NDArray[np.int64], min_patients: int) -> list[str]:
    parts, views = films.words("body_part")[rows], films.words("view")[rows]
    told = np.array(
        [f"{part} {view}".strip().replace("_", " ") for part, view in zip(parts, views, strict=True)], dtype=object
    )
    names = set(nameable(told, films.patients[rows], min_patients))
    return [name if name in names else "rare" if name else "not stated" for name in told]


def _nearest(vectors: Vectors, patients: NDArray[np.int64], queries: Sequence[int]) -> list[FilmNeighbours]:
    """The nearest films of other patients, by cosine of standardised vectors, as the kNN probe sees them."""
    scale, asked = scale_of(vectors), np.array(queries)
    gallery = Standardised(vectors, scale, unit=True)
    near = nearest(
        gallery, Standardised(vectors.take(asked), scale, unit=True), NEIGHBOURS, apart=(patients, patients[asked])
    )
    return [
        FilmNeighbours(query, place[place >= 0].tolist(), cosine[place >= 0].tolist())
        for query, place, cosine in zip(queries, near.place, near.cosine, strict=True)
    ]


def _shown(film: Film) -> NDArray[np.uint16]:
    rows, columns = film.sidecar.rows, film.sidecar.columns
    scale = min(1.0, _SIDE / max(rows, columns))
    grid = max(1, round(rows * scale)), max(1, round(columns * scale))
    values = film.values(Layout(Region(0, 0, rows, columns), grid, 1.0), 1)
    return display_table(film.sidecar.display)[values]


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
