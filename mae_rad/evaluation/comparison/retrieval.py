"""Retrieval without training: are the nearest neighbours of a film relevant films?

Two tasks on the test films: films of other patients with the same body part and view; films of the same patient in
other studies. Vectors are standardised on training films; neighbours are by cosine.

Legend: Q queries, k neighbours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for
from mae_rad.embedding.nearest_neighbours import find_neighbours
from mae_rad.embedding.standardised_rows import Scale, Standardised, fit_scale
from mae_rad.evaluation.comparison.differences import ComparedMetric
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.settings import VectorChoice
from mae_rad.evaluation.comparison.tasks import SkippedTask
from mae_rad.evaluation.statistics.metrics import Estimate, Floats

DEPTH = 100
"""Number of evaluated neighbours."""
MAX_QUERIES = 10_000
"""Largest number of queries; above it queries are drawn at random."""


@dataclass(frozen=True)
class RetrievalTask:
    """Gallery and queries of a retrieval task.

    Attributes:
        name: name of the task.
        rows: [N] gallery, as rows of the index; it contains all queries.
        queries: [Q] positions of the queries in the gallery.
        relevance_group: [N] group of each film; films of one group are relevant to each other.
        excluded_group: [N] group of each film; films of the query's group are excluded (its patient, its study).
        relevant: [Q] number of relevant films of each query.
    """

    name: str
    rows: NDArray[np.int64]
    queries: NDArray[np.int64]
    relevance_group: NDArray[np.int64]
    excluded_group: NDArray[np.int64]
    relevant: NDArray[np.int64]


def retrieval_tasks(
    films: Films, usable: NDArray[np.bool_], seed: int
) -> tuple[list[RetrievalTask], list[SkippedTask]]:
    """Build both retrieval tasks on the test films.

    Args:
        films: films of all splits.
        usable: [films] bool, every encoder has a vector of the film.
        seed: seed of the draw of queries.

    Returns:
        The tasks, and those that cannot be evaluated with the reason.
    """
    rows = np.flatnonzero(usable & (films.split == "test"))
    body_part, view = (films.strings(column)[rows] for column in ("body_part", "view"))
    has_kind = (body_part != "") & (view != "")
    kinds = np.unique(np.char.add(np.char.add(body_part.astype(str), "|"), view.astype(str)), return_inverse=True)[1]
    studies = _value_numbers(films, "study")[rows]
    patients = films.patients[rows]
    has_patient = np.asarray(pc.fill_null(films.table.column("patient_known"), False).to_numpy(), dtype=np.bool_)[rows]
    built = [
        _retrieval_task("same body part and view", rows[has_kind], kinds[has_kind], patients[has_kind], seed),
        _retrieval_task(
            "same patient in another study", rows[has_patient], patients[has_patient], studies[has_patient], seed
        ),
    ]
    return (
        [task for task in built if isinstance(task, RetrievalTask)],
        [task for task in built if isinstance(task, SkippedTask)],
    )


def measure_retrieval(
    task: RetrievalTask,
    encoders: Sequence[EmbeddedCandidate],
    films: Films,
    training_rows: NDArray[np.int64],
    choice: VectorChoice,
) -> Iterator[ComparedMetric]:
    """Compute mean average precision and recall of every encoder.

    Args:
        task: retrieval task.
        encoders: embedded encoders.
        films: films of all splits.
        training_rows: rows on which vectors are standardised.
        choice: T and pooling of the vectors.
    """
    hits_of_encoder = {
        encoder.name: _relevant_neighbours(task, encoder, fit_scale(encoder.vectors(choice, training_rows)), choice)
        for encoder in encoders
    }
    k = min(DEPTH, len(task.rows))
    of_query: dict[str, Callable[[NDArray[np.bool_]], Floats]] = {
        f"map_at_{k}": lambda hits: average_precision_at_k(hits, task.relevant),
        "recall_at_1": lambda hits: _any_hit(hits[:, :1]),
        "recall_at_10": lambda hits: _any_hit(hits[:, :10]),
    }
    for metric, score in of_query.items():
        yield ComparedMetric(
            task=task.name,
            probe="retrieval",
            metric=metric,
            vectors={encoder.name: encoder.tokens_and_pool(choice) for encoder in encoders},
            patients=films.patients[task.rows[task.queries]],
            estimates={name: [mean_of(score(hits))] for name, hits in hits_of_encoder.items()},
            notes=dict.fromkeys(hits_of_encoder, f"gallery of {len(task.rows)} films, the same for all resamples"),
        )


def average_precision_at_k(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Floats:
    """Compute the average precision of the first k neighbours: sum of the precisions at every hit / possible hits.

    Args:
        hits: [Q, k] which neighbours are relevant, nearest first.
        relevant: [Q] number of relevant films in the gallery; at most k of them are possible hits.

    Returns:
        [Q] in [0, 1].
    """
    rank = np.arange(1, hits.shape[1] + 1)
    precision = np.cumsum(hits, axis=1) / rank
    possible = np.minimum(relevant, hits.shape[1])
    return np.asarray((precision * hits).sum(axis=1) / possible, dtype=np.float64)


def _any_hit(hits: NDArray[np.bool_]) -> Floats:
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def mean_of(values: Floats) -> Estimate:
    """Return the weighted mean of the values [N] of films, as a function of weights [R, N]."""
    return lambda weights: np.asarray(weights @ values / weights.sum(axis=1), dtype=np.float64)


def _relevant_neighbours(
    task: RetrievalTask, encoder: EmbeddedCandidate, scale: Scale, choice: VectorChoice
) -> NDArray[np.bool_]:
    """Return, as bool [Q, k], which neighbours of each query are relevant."""
    gallery = encoder.vectors(choice, task.rows)
    gallery_vectors, query_vectors = (
        Standardised(vectors, scale, unit=True) for vectors in (gallery, gallery.take(task.queries))
    )
    excluded = task.excluded_group, task.excluded_group[task.queries]
    place = find_neighbours(gallery_vectors, query_vectors, min(DEPTH, len(task.rows)), apart=excluded).place
    same = task.relevance_group[place] == task.relevance_group[task.queries][:, None]
    return np.asarray(same & (place >= 0))


def _retrieval_task(
    name: str, rows: NDArray[np.int64], relevance: NDArray[np.int64], excluded: NDArray[np.int64], seed: int
) -> RetrievalTask | SkippedTask:
    """Build a retrieval task; queries are the films with relevant films in the gallery."""
    relevance = np.unique(relevance, return_inverse=True)[1]
    excluded = np.unique(excluded, return_inverse=True)[1]
    together = np.unique(np.stack([relevance, excluded]), axis=1, return_inverse=True, return_counts=True)
    same_group = together[2][together[1].ravel()]
    relevant = np.bincount(relevance)[relevance] - same_group if len(rows) else np.empty(0, dtype=np.int64)
    queries = np.flatnonzero(relevant > 0)
    if len(queries) < 2:
        return SkippedTask(name, "no test film has a relevant other film")
    drawn = np.sort(generator_for("queries", seed, name).permutation(queries)[:MAX_QUERIES])
    return RetrievalTask(name, rows, drawn, relevance, excluded, relevant[drawn])


def _value_numbers(films: Films, column: str) -> NDArray[np.int64]:
    """Return the number [films] of the value of an index column."""
    encoded = films.table.column(column).combine_chunks().dictionary_encode().indices
    return np.asarray(encoded.to_numpy(zero_copy_only=False), dtype=np.int64)
