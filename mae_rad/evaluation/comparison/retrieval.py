"""Retrieval: does an encoder put like films next to each other, without being trained to?

Two questions on the test films: films of other patients with the same body part and view; films of the same patient
in other studies. Vectors are standardised on training films, neighbours are by cosine.

Legend: Q queries, k neighbours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for
from mae_rad.embedding.nearest_neighbours import nearest
from mae_rad.embedding.standardised_rows import Scale, Standardised, scale_of
from mae_rad.evaluation.comparison.differences import ComparedMetric
from mae_rad.evaluation.comparison.embed_candidates import Encoded
from mae_rad.evaluation.comparison.settings import VectorChoice
from mae_rad.evaluation.comparison.tasks import Films, Skipped
from mae_rad.evaluation.statistics.metrics import Estimate, Floats

DEPTH = 100
"""Neighbours that are looked at."""
QUERIES = 10_000
"""Most queries; more are drawn."""


@dataclass(frozen=True)
class RetrievalTask:
    """What counts as found.

    Attributes:
        name: of the task.
        rows: gallery, as rows of the index; all queries are in it.
        queries: places in the gallery.
        alike: number of each film of the gallery; those of equal number are relevant to each other.
        apart: number of each film of the gallery; those of equal number are not looked at (own patient, own study).
        relevant: [Q] how many relevant films there are to find.
    """

    name: str
    rows: NDArray[np.int64]
    queries: NDArray[np.int64]
    alike: NDArray[np.int64]
    apart: NDArray[np.int64]
    relevant: NDArray[np.int64]


def questions(films: Films, usable: NDArray[np.bool_], seed: int) -> tuple[list[RetrievalTask], list[Skipped]]:
    """Both questions about the films of test that are ``usable`` [films], and why one cannot be asked."""
    rows = np.flatnonzero(usable & (films.split == "test"))
    body_part, view = (films.words(column)[rows] for column in ("body_part", "view"))
    both = (body_part != "") & (view != "")
    kinds = np.unique(np.char.add(np.char.add(body_part.astype(str), "|"), view.astype(str)), return_inverse=True)[1]
    studies = _numbers(films, "study")[rows]
    patients = films.patients[rows]
    known = np.asarray(pc.fill_null(films.table.column("patient_known"), False).to_numpy(), dtype=np.bool_)[rows]
    asked = [
        _question("same body part and view", rows[both], kinds[both], patients[both], seed),
        _question("same patient in another study", rows[known], patients[known], studies[known], seed),
    ]
    return (
        [one for one in asked if isinstance(one, RetrievalTask)],
        [one for one in asked if isinstance(one, Skipped)],
    )


def measure_retrieval(
    question: RetrievalTask,
    encoders: Sequence[Encoded],
    films: Films,
    fitted: NDArray[np.int64],
    choice: VectorChoice,
) -> Iterator[ComparedMetric]:
    """Mean average precision and recall of every encoder; ``fitted`` are the rows that vectors are standardised on."""
    found = {
        encoder.name: _found(question, encoder, scale_of(encoder.vectors(choice, fitted)), choice)
        for encoder in encoders
    }
    k = min(DEPTH, len(question.rows))
    of_query: dict[str, Callable[[NDArray[np.bool_]], Floats]] = {
        f"map_at_{k}": lambda hits: average_precision_at_k(hits, question.relevant),
        "recall_at_1": lambda hits: _any(hits[:, :1]),
        "recall_at_10": lambda hits: _any(hits[:, :10]),
    }
    for metric, score in of_query.items():
        yield ComparedMetric(
            task=question.name,
            probe="retrieval",
            metric=metric,
            vectors={encoder.name: encoder.tokens_and_pool(choice) for encoder in encoders},
            patients=films.patients[question.rows[question.queries]],
            estimates={name: [mean_of(score(hits))] for name, hits in found.items()},
            notes=dict.fromkeys(found, f"{len(question.rows)} films to find among, the same for all resamples"),
        )


def average_precision_at_k(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> Floats:
    """[Q] average precision of the first k neighbours: precision at every hit, summed, over what could be hit.

    Args:
        hits: [Q, k] which neighbours are relevant, nearest first.
        relevant: [Q] relevant films in the gallery; k of them at most can be hit.
    """
    rank = np.arange(1, hits.shape[1] + 1)
    precision = np.cumsum(hits, axis=1) / rank
    possible = np.minimum(relevant, hits.shape[1])
    return np.asarray((precision * hits).sum(axis=1) / possible, dtype=np.float64)


def _any(hits: NDArray[np.bool_]) -> Floats:
    return np.asarray(hits.any(axis=1), dtype=np.float64)


def mean_of(values: Floats) -> Estimate:
    """Weighted mean of the values [N] of single films."""
    return lambda weights: np.asarray(weights @ values / weights.sum(axis=1), dtype=np.float64)


def _found(question: RetrievalTask, encoder: Encoded, scale: Scale, choice: VectorChoice) -> NDArray[np.bool_]:
    """[Q, k] which of the neighbours of each query are relevant."""
    gallery = encoder.vectors(choice, question.rows)
    everyone, asked = (Standardised(vectors, scale, unit=True) for vectors in (gallery, gallery.take(question.queries)))
    apart = question.apart, question.apart[question.queries]
    place = nearest(everyone, asked, min(DEPTH, len(question.rows)), apart=apart).place
    same = question.alike[place] == question.alike[question.queries][:, None]
    return np.asarray(same & (place >= 0))


def _question(
    name: str, rows: NDArray[np.int64], alike: NDArray[np.int64], apart: NDArray[np.int64], seed: int
) -> RetrievalTask | Skipped:
    """Queries are the films for which there is something to find."""
    alike = np.unique(alike, return_inverse=True)[1]
    apart = np.unique(apart, return_inverse=True)[1]
    together = np.unique(np.stack([alike, apart]), axis=1, return_inverse=True, return_counts=True)
    own = together[2][together[1].ravel()]
    relevant = np.bincount(alike)[alike] - own if len(rows) else np.empty(0, dtype=np.int64)
    queries = np.flatnonzero(relevant > 0)
    if len(queries) < 2:
        return Skipped(name, "no test film has another one to be found")
    drawn = np.sort(generator_for("queries", seed, name).permutation(queries)[:QUERIES])
    return RetrievalTask(name, rows, drawn, alike, apart, relevant[drawn])


def _numbers(films: Films, column: str) -> NDArray[np.int64]:
    """[films] a number per value of an index column."""
    encoded = films.table.column(column).combine_chunks().dictionary_encode().indices
    return np.asarray(encoded.to_numpy(zero_copy_only=False), dtype=np.int64)
