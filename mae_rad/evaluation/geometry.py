"""The shape of a cloud of vectors: how many directions it uses, how it lies on the sphere, what two encoders share.

Descriptions of one set of films, without intervals: larger is not better by itself.

Legend: N films, D channels, P pairs.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeds import counted
from mae_rad.evaluation.encoded import Encoded
from mae_rad.evaluation.intervals import Interval
from mae_rad.evaluation.measured import arm_word
from mae_rad.evaluation.metrics import Floats
from mae_rad.evaluation.rows import Row
from mae_rad.evaluation.tasks import Films

MOST_FILMS = 5000
EPSILON = 1e-7
"""Of Garrido et al., added to every share."""
_NAN = float("nan")


def rank_me(x: NDArray[np.floating]) -> float:
    """Effective rank of vectors [N, D]: exp of the entropy of their singular values (RankMe, Garrido et al. 2023)."""
    singular = np.linalg.svd(np.asarray(x, dtype=np.float64), compute_uv=False)
    share = singular / singular.sum() + EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))


def alignment(x: Floats, other: Floats) -> float:
    """Mean squared distance of unit vectors [P, D] of the films of a pair (Wang & Isola 2020, alpha = 2)."""
    return float(np.square(unit(x) - unit(other)).sum(axis=1).mean())


def uniformity(x: Floats) -> float:
    """Log of the mean of exp(-2 squared distance) over all pairs of unit vectors [N, D] (Wang & Isola 2020, t = 2)."""
    x = unit(x)
    squared = np.maximum(2 - 2 * x @ x.T, 0)
    pairs = squared[np.triu_indices(len(x), 1)]
    return float(np.log(np.exp(-2 * pairs).mean()))


def linear_cka(x: Floats, other: Floats) -> float:
    """Linear centred kernel alignment of vectors [N, D] and [N, E] of the same films (Kornblith et al. 2019)."""
    x, other = x - x.mean(axis=0), other - other.mean(axis=0)
    shared = np.square(other.T @ x).sum()
    return float(shared / (np.linalg.norm(x.T @ x) * np.linalg.norm(other.T @ other)))


def unit(x: Floats) -> Floats:
    """Vectors of length one."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), dtype=np.float64)


def repeated(films: Films, rows: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of films of one patient, body part and view in different studies: the same anatomy, radiographed again."""
    names = [films.words(column)[rows].astype(str) for column in ("body_part", "view", "study")]
    groups: dict[tuple[int, str, str], dict[str, int]] = {}
    for row, patient, body_part, view, study in zip(rows.tolist(), films.patients[rows].tolist(), *names, strict=True):
        if body_part and view:
            groups.setdefault((patient, body_part, view), {}).setdefault(study, row)
    pairs = [pair for of_study in groups.values() for pair in combinations(of_study.values(), 2)]
    order = counted("repeated films", seed).permutation(len(pairs))[:MOST_FILMS]
    chosen = np.array([pairs[place] for place in order], dtype=np.int64).reshape(-1, 2)
    return chosen[:, 0], chosen[:, 1]


def geometry_rows(
    encoders: Sequence[Encoded], films: Films, usable: NDArray[np.bool_], seed: int, *, tokens: int, pool: str
) -> list[Row]:
    """All of this of every encoder on the test films, or some thousand of them."""
    every = np.flatnonzero(usable & (films.split == "test"))
    rows = np.sort(counted("geometry", seed).permutation(every)[:MOST_FILMS])
    if len(rows) < 2:
        return []
    one, again = repeated(films, every, seed)
    patients = len(np.unique(films.patients[rows]))
    out, clouds = [], {}

    def row(encoder: Encoded, metric: str, value: float, **more: object) -> Row:
        return Row(
            encoder=encoder.name, method=encoder.candidate.method, arm=arm_word(encoder.candidate.arms),
            pretraining_seed=encoder.candidate.seed, task="geometry", probe="geometry", metric=metric, tokens=tokens,
            pool=pool if encoder.own_pools else "none", interval=Interval(value, _NAN, _NAN),
            **({"n_films": len(rows), "n_patients": patients, "n_train": 0, "n_train_patients": 0} | more),  # type: ignore[arg-type]
        )  # fmt: skip

    for encoder in encoders:
        x = clouds[encoder.name] = encoder.vectors(tokens, pool, rows).array().astype(np.float64)
        out.append(row(encoder, "rankme", rank_me(x), note=f"of {min(x.shape)} at most"))
        out.append(row(encoder, "uniformity", uniformity(x)))
        if len(one):
            pair = (encoder.vectors(tokens, pool, part).array().astype(np.float64) for part in (one, again))
            told = f"{len(one)} pairs of films of one patient, body part and view in different studies"
            out.append(row(encoder, "alignment", alignment(*pair), note=told))
    for first, second in combinations(encoders, 2):
        value = linear_cka(clouds[first.name], clouds[second.name])
        out.append(row(first, "linear_cka", value, reference=second.name, n_reference_runs=1))
    return out
