"""All figures of a comparison as files, for MLflow and, where the numbers alone do not make them, for the page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.display import display_table
from mae_rad.data.film import Film
from mae_rad.data.geometry import Layout, Region
from mae_rad.data.shards import FilmUnreadableError
from mae_rad.evaluation.figures.curves import by_size, label_efficiency
from mae_rad.evaluation.figures.embedding_map import Vectors, draw_map, nameable
from mae_rad.evaluation.figures.forest import draw_values, pair_forest
from mae_rad.evaluation.figures.neighbour_sheet import NEIGHBOURS, QUERIES, Found, neighbour_sheet, sample_rows
from mae_rad.evaluation.figures.similarity import similarity_matrix
from mae_rad.evaluation.figures.style import save_png
from mae_rad.evaluation.reading import Reading
from mae_rad.evaluation.tasks import Films
from mae_rad.evaluation.vectors import of_array, scale_of

_GALLERY = 20_000
"""Films among which neighbours are looked for, at most."""
_SHEETS = 4
"""Encoders whose neighbours are drawn: the first ones."""
_MAP_LABELS = 3
"""Labels that maps are coloured by, at most."""
_SIDE = 384

Names = Sequence[str]


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


def draw_embeddings(
    films: Films,
    rows: NDArray[np.int64],
    vectors: Mapping[str, Callable[[NDArray[np.int64]], Vectors]],
    folder: Path,
    *,
    min_patients: int,
) -> list[Path]:
    """Maps of the test films and neighbours of some of them.

    Args:
        films: of all splits.
        rows: the test films.
        vectors: encoder → rows → vectors [len(rows), D].
        folder: for the PNGs.
        min_patients: a value that fewer patients share is not named.
    """
    test = np.sort(np.random.default_rng(0).permutation(rows)[:_GALLERY])
    if len(test) <= NEIGHBOURS:
        return []
    matrices = {name: get(test) for name, get in vectors.items()}
    paths = []
    for name, values in _colourings(films).items():
        path = folder / f"map-{_file(name)}.png"
        drawn = draw_map(
            matrices, values[test], films.patients[test], name.replace("_", " "), path, min_patients=min_patients
        )
        paths += [drawn] if drawn else []
    captions = _captions(films, test, min_patients)
    queries = sample_rows(captions, np.arange(len(test)), QUERIES)
    for name, matrix in list(matrices.items())[:_SHEETS]:
        found = _nearest(matrix, films.patients[test], queries)
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


def _colourings(films: Films) -> dict[str, NDArray[np.object_]]:
    """What films are coloured by: body part, view, scanner, and labels with both values."""
    scanner = films.words("manufacturer") + " " + films.words("model")
    told = {"body_part": films.words("body_part"), "view": films.words("view")}
    told["scanner"] = np.array([value.strip() for value in scanner], dtype=object)
    position = {key: row for row, key in enumerate(films.keys)}
    for label in films.label_names()[:_MAP_LABELS]:
        values = np.full(len(films.keys), "", dtype=object)
        rows = [
            row for row in films.labels.to_pylist() if row["label"] == label and row["value"] in ("present", "absent")
        ]
        for row in rows:
            if row["key"] in position:
                values[position[row["key"]]] = row["value"]
        told[label] = values
    return told


def _captions(films: Films, rows: NDArray[np.int64], min_patients: int) -> list[str]:
    parts, views = films.words("body_part")[rows], films.words("view")[rows]
    told = np.array(
        [f"{part} {view}".strip().replace("_", " ") for part, view in zip(parts, views, strict=True)], dtype=object
    )
    names = set(nameable(told, films.patients[rows], min_patients))
    return [name if name in names else "rare" if name else "not stated" for name in told]


def _nearest(matrix: Vectors, patients: NDArray[np.int64], queries: Sequence[int]) -> list[Found]:
    """The nearest films of other patients, by cosine of standardised vectors, as the kNN probe sees them."""
    x = scale_of(of_array(matrix)).apply(matrix)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    found = []
    for query in queries:
        cosine = np.where(patients == patients[query], -np.inf, x @ x[query])
        order = np.argsort(-cosine, kind="stable")[:NEIGHBOURS]
        order = order[np.isfinite(cosine[order])]
        found.append(Found(query, order.tolist(), cosine[order].tolist()))
    return found


def _shown(film: Film) -> NDArray[np.uint16]:
    rows, columns = film.sidecar.rows, film.sidecar.columns
    scale = min(1.0, _SIDE / max(rows, columns))
    grid = max(1, round(rows * scale)), max(1, round(columns * scale))
    values = film.values(Layout(Region(0, 0, rows, columns), grid, 1.0), 1)
    return display_table(film.sidecar.display)[values]


def _file(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
