"""Rows of the geometry of every encoder's vectors: descriptions of one set of films, without intervals.

A larger value is not better by itself.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for
from mae_rad.embedding.vector_geometry import alignment, linear_cka, rank_me, uniformity
from mae_rad.evaluation.comparison.differences import arm_value
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.settings import VectorChoice
from mae_rad.evaluation.results.rows import Row
from mae_rad.evaluation.statistics.intervals import Interval

MAX_FILMS = 5000
_NAN = float("nan")


def repeat_pairs(films: Films, rows: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw pairs of films of one patient, body part and view from different studies.

    Args:
        films: films of all splits.
        rows: [N] rows of the index.
        seed: seed of the draw.

    Returns:
        Rows [P] of the first and of the second film of each pair.
    """
    names = [films.strings(column)[rows].astype(str) for column in ("body_part", "view", "study")]
    groups: dict[tuple[int, str, str], dict[str, int]] = {}
    for row, patient, body_part, view, study in zip(rows.tolist(), films.patients[rows].tolist(), *names, strict=True):
        if body_part and view:
            groups.setdefault((patient, body_part, view), {}).setdefault(study, row)
    pairs = [pair for of_study in groups.values() for pair in combinations(of_study.values(), 2)]
    order = generator_for("repeated films", seed).permutation(len(pairs))[:MAX_FILMS]
    chosen = np.array([pairs[place] for place in order], dtype=np.int64).reshape(-1, 2)
    return chosen[:, 0], chosen[:, 1]


def geometry_rows(
    encoders: Sequence[EmbeddedCandidate], films: Films, usable: NDArray[np.bool_], seed: int, choice: VectorChoice
) -> list[Row]:
    """Compute the geometry of every encoder on at most MAX_FILMS test films.

    Args:
        encoders: embedded encoders.
        films: films of all splits.
        usable: [films] bool, every encoder has a vector of the film.
        seed: seed of the draw of films.
        choice: T and pooling of the vectors.
    """
    test_rows = np.flatnonzero(usable & (films.split == "test"))
    rows = np.sort(generator_for("geometry", seed).permutation(test_rows)[:MAX_FILMS])
    if len(rows) < 2:
        return []
    first_films, second_films = repeat_pairs(films, test_rows, seed)
    patients = len(np.unique(films.patients[rows]))
    out, clouds = [], {}

    def row(encoder: EmbeddedCandidate, metric: str, value: float, **other_fields: object) -> Row:
        tokens, pool = encoder.tokens_and_pool(choice)
        return Row(
            encoder=encoder.name, method=encoder.candidate.method, arm=arm_value(encoder.candidate.arms),
            pretraining_seed=encoder.candidate.seed, task="geometry", probe="geometry", metric=metric, tokens=tokens,
            pool=pool, interval=Interval(value, _NAN, _NAN),
            **({"n_films": len(rows), "n_patients": patients, "n_train": 0, "n_train_patients": 0} | other_fields),  # type: ignore[arg-type]
        )  # fmt: skip

    for encoder in encoders:
        x = clouds[encoder.name] = encoder.vectors(choice, rows).array().astype(np.float64)
        out.append(row(encoder, "rankme", rank_me(x), note=f"of {min(x.shape)} at most"))
        out.append(row(encoder, "uniformity", uniformity(x)))
        if len(first_films):
            pair = (encoder.vectors(choice, part).array().astype(np.float64) for part in (first_films, second_films))
            pair_note = f"{len(first_films)} pairs of films of one patient, body part and view in different studies"
            out.append(row(encoder, "alignment", alignment(*pair), note=pair_note))
    for first, second in combinations(encoders, 2):
        value = linear_cka(clouds[first.name], clouds[second.name])
        out.append(row(first, "linear_cka", value, reference=second.name, n_reference_runs=1))
    return out
