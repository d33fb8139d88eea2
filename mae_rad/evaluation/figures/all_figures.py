"""Draw all figures of a comparison as PNG files, for MLflow and for the report page, and the map with its films."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.pages.plot_style import save_png
from data_prep.shard_format.apply_display import display_table
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import Layout, Region
from mae_rad.data.shard_reader import FilmUnreadableError
from mae_rad.embedding.nearest_neighbours import find_neighbours
from mae_rad.embedding.standardised_rows import Standardised, Vectors, fit_scale
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs
from mae_rad.evaluation.comparison.confusions import Confusion
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.tasks import ProbeTask
from mae_rad.evaluation.figures.curves import by_size, label_efficiency
from mae_rad.evaluation.figures.embedding_map import draw_map, nameable
from mae_rad.evaluation.figures.forest import draw_values, pair_forest
from mae_rad.evaluation.figures.map_page import MAP_PAGE, sampled_films, without_empty, write_map_page
from mae_rad.evaluation.figures.neighbour_sheet import NEIGHBOURS, QUERIES, FilmNeighbours, neighbour_sheet, sample_rows
from mae_rad.evaluation.figures.similarity import similarity_matrix
from mae_rad.evaluation.multiclass.confusion import draw_confusion
from mae_rad.evaluation.results.display_names import plain_name
from mae_rad.evaluation.results.queries import ComparisonResults

_MAX_FILMS = 20_000
"""Largest number of films of a map, and of films among which neighbours are searched."""
_MAX_SHEETS = 4
"""Largest number of encoders with a sheet of neighbours."""
_MAX_MAP_LABELS = 3
"""Largest number of labels with a map."""
_SIDE_PIXELS = 384


def draw_numbers(results: ComparisonResults, folder: Path) -> list[Path]:
    """Draw the figures of the rows; figures of an earlier comparison are deleted.

    Args:
        results: rows of the comparison.
        folder: folder of the PNG files.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    paths = draw_values(results, folder)
    for encoder, reference, arm in results.pairs:
        name = f"difference-{encoder}-{reference}" + ("" if arm == "none" else f"-{arm}")
        paths.append(save_png(pair_forest(results, encoder, reference, arm), folder / f"{_file_name(name)}.png"))
    for name, draw in (("label-efficiency", label_efficiency), ("size", by_size)):
        for probe in results.probes:
            figure = draw(results, probe)
            if figure is not None:
                paths.append(save_png(figure, folder / f"{name}-{probe}.png"))
    similarity = similarity_matrix([row for row in results.of_probe("geometry") if row.metric == "linear_cka"])
    if similarity is not None:
        paths.append(save_png(similarity, folder / "similarity.png"))
    return paths


def draw_confusions(confusions: Sequence[Confusion], folder: Path) -> list[Path]:
    """Draw the films of every task and encoder by true and predicted class.

    Args:
        confusions: of a comparison.
        folder: folder of the PNG files.

    Returns:
        The files.
    """
    paths = []
    for one in confusions:
        films = f"{len(one.true)} test films of {len(np.unique(one.patients))} patients"
        paths.append(folder / confusion_file(one.task, one.encoder))
        title = f"{plain_name(one.task)}, {one.encoder}\n{films}"
        draw_confusion(one.true, one.predicted, one.classes, title, paths[-1])
    return paths


def confusion_file(task: str, encoder: str) -> str:
    """Return the file name of the confusion of an encoder."""
    return f"{_file_name(f'confusion-{task}-{encoder}')}.png"


def draw_embeddings(inputs: ComparisonInputs, folder: Path, *, min_patients: int) -> list[Path]:
    """Draw maps of the test films, and the neighbours of sample films.

    Args:
        inputs: inputs of the comparison.
        folder: folder of the PNG files.
        min_patients: values that fewer patients share are not named.

    Returns:
        The files.
    """
    films = inputs.films
    (folder.parent / MAP_PAGE).unlink(missing_ok=True)  # of an earlier comparison, perhaps of films that are removed
    test = np.flatnonzero(inputs.usable & (films.split == "test"))
    test = np.sort(np.random.default_rng(0).permutation(test)[:_MAX_FILMS])
    if len(test) <= NEIGHBOURS:
        return []
    drawn_encoders = [encoder for encoder in inputs.encoders if encoder.candidate.method != "random"]
    drawn_encoders += [encoder for encoder in inputs.encoders if encoder.candidate.method == "random"][:1]
    matrices = {encoder.name: encoder.vectors(inputs.first, test) for encoder in drawn_encoders}
    arrays = {name: vectors.array() for name, vectors in matrices.items()}
    paths = []
    for name, values in _colourings(inputs).items():
        path = folder / f"map-{_file_name(name)}.png"
        map_path = draw_map(
            arrays, values[test], films.patients[test], plain_name(name), path, min_patients=min_patients
        )
        paths += [map_path] if map_path else []
    _draw_map_page(inputs, drawn_encoders, folder.parent, min_patients)
    captions = _captions(films, test, min_patients)
    queries = sample_rows(captions, np.arange(len(test)), QUERIES)
    for name, vectors in list(matrices.items())[:_MAX_SHEETS]:
        film_neighbours = _nearest(vectors, films.patients[test], queries)
        path = folder / f"neighbours-{_file_name(name)}.png"
        try:
            paths.append(
                neighbour_sheet(
                    name,
                    film_neighbours,
                    lambda row: _display_values(films.index.film(int(test[row]))),
                    captions,
                    path,
                    films=len(test),
                )
            )
        except FilmUnreadableError:  # the sheet is left out; `verify` reports the film
            continue
    return paths


def _draw_map_page(
    inputs: ComparisonInputs, encoders: Sequence[EmbeddedCandidate], folder: Path, min_patients: int
) -> None:
    """Write ``map.html`` of films of all splits, unless it is not wanted."""
    films, count = inputs.films, inputs.settings.runtime.map_films
    rows = sampled_films(np.flatnonzero(inputs.usable), count)
    colourings = without_empty({name: values[rows] for name, values in _colourings(inputs).items()})
    write_map_page(
        {encoder.name: encoder.vectors(inputs.first, rows).array() for encoder in encoders if count},
        colourings | {"split": films.split[rows]},
        films.patients[rows],
        lambda position: _display_values(films.index.film(int(rows[position]))),
        folder,
        min_patients=min_patients,
    )


def _colourings(inputs: ComparisonInputs) -> dict[str, NDArray[np.object_]]:
    """Return the values by which films are coloured: body part, view, scanner, and the first labels."""
    films = inputs.films
    colourings = {"body_part": films.strings("body_part"), "view": films.strings("view")}
    makers, models = films.strings("manufacturer"), films.strings("model")
    colourings["scanner"] = np.array(
        [f"{maker} {model}".strip() for maker, model in zip(makers, models, strict=True)], object
    )
    for task in [task for task in inputs.tasks if task.label is not None][:_MAX_MAP_LABELS]:
        values = np.full(len(films.keys), "", dtype=object)
        values[task.rows] = np.array(task.classes, dtype=object)[task.y] if task.numbers is None else _quarters(task)
        colourings[task.name] = values
    return colourings


def _quarters(task: ProbeTask) -> NDArray[np.object_]:
    """Return the quarter of the test films [N] in which each number lies, as text."""
    assert task.numbers is not None
    edges = np.unique(np.quantile(task.numbers[task.positions("test")], [0.25, 0.5, 0.75]))
    names = [
        f"under {edges[0]:g}",
        *(f"{low:g} to under {high:g}" for low, high in pairwise(edges)),
        f"{edges[-1]:g} and more",
    ]
    return np.array(names, dtype=object)[np.searchsorted(edges, task.numbers, side="right")]


def _captions(films: Films, rows: NDArray[np.int64], min_patients: int) -> list[str]:
    parts, views = films.strings("body_part")[rows], films.strings("view")[rows]
    colourings = np.array(
        [f"{part} {view}".strip().replace("_", " ") for part, view in zip(parts, views, strict=True)], dtype=object
    )
    names = set(nameable(colourings, films.patients[rows], min_patients))
    return [name if name in names else "rare" if name else "not stated" for name in colourings]


def _nearest(vectors: Vectors, patients: NDArray[np.int64], queries: Sequence[int]) -> list[FilmNeighbours]:
    """Find the nearest films of other patients, by cosine of standardised vectors, as in the kNN probe."""
    scale, query_rows = fit_scale(vectors), np.array(queries)
    gallery = Standardised(vectors, scale, unit=True)
    neighbours = find_neighbours(
        gallery,
        Standardised(vectors.take(query_rows), scale, unit=True),
        NEIGHBOURS,
        apart=(patients, patients[query_rows]),
    )
    return [
        FilmNeighbours(query, place[place >= 0].tolist(), cosine[place >= 0].tolist())
        for query, place, cosine in zip(queries, neighbours.place, neighbours.cosine, strict=True)
    ]


def _display_values(film: Film) -> NDArray[np.uint16]:
    rows, columns = film.sidecar.rows, film.sidecar.columns
    scale = min(1.0, _SIDE_PIXELS / max(rows, columns))
    grid = max(1, round(rows * scale)), max(1, round(columns * scale))
    values = film.values(Layout(Region(0, 0, rows, columns), grid, 1.0), 1)
    return display_table(film.sidecar.display)[values]


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
