"""Agreement of k-means clusters of the vectors with body part and view.

Legend: N films, K clusters, C classes, R weightings. With weights of one the metrics equal scikit-learn's.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from mae_rad.data.seeded_random import generator_for
from mae_rad.embedding.standardised_rows import Standardised, fit_scale
from mae_rad.evaluation.comparison.differences import ComparedMetric
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate
from mae_rad.evaluation.comparison.settings import VectorChoice
from mae_rad.evaluation.comparison.tasks import ProbeTask
from mae_rad.evaluation.statistics.metrics import Estimate, Floats

MAX_FILMS = 20_000
_STARTS = 4


def measure_clustering(
    task: ProbeTask, encoders: Sequence[EmbeddedCandidate], seed: int, choice: VectorChoice
) -> Iterator[ComparedMetric]:
    """Compute the agreement of clusters with the classes of a task, with one cluster per class, on its test films.

    Args:
        task: films and their classes.
        encoders: embedded encoders.
        seed: seed of k-means.
        choice: T and pooling of the vectors.
    """
    places = task.positions("test")
    places = np.sort(generator_for("clustering", seed, task.name).permutation(places)[:MAX_FILMS])
    y, clusters = task.y[places], {}
    for encoder in encoders:
        vectors = encoder.vectors(choice, task.rows[places])
        x = Standardised(vectors, fit_scale(vectors), unit=True).array()
        clusters[encoder.name] = KMeans(len(task.classes), n_init=_STARTS, random_state=seed).fit(x).labels_
    for metric, agreement in {"nmi": normalised_mutual_information, "ari": adjusted_rand_index}.items():
        yield ComparedMetric(
            task=task.name,
            probe="clustering",
            metric=metric,
            vectors={encoder.name: encoder.tokens_and_pool(choice) for encoder in encoders},
            patients=task.patients[places],
            estimates={name: [_estimate(agreement, y, labels)] for name, labels in clusters.items()},
            notes=dict.fromkeys(clusters, f"k-means, k = {len(task.classes)}, best of {_STARTS} starts"),
            biased=True,
        )


def normalised_mutual_information(table: Floats) -> Floats:
    """Compute mutual information / mean of both entropies [R] of contingency tables [R, K, C]."""
    joint = table / table.sum(axis=(1, 2), keepdims=True)
    clusters, classes = joint.sum(axis=2), joint.sum(axis=1)
    entropy_k, entropy_c = _entropy(clusters), _entropy(classes)
    mutual = entropy_k + entropy_c - _entropy(joint.reshape(len(joint), -1))
    mean = (entropy_k + entropy_c) / 2
    return np.asarray(np.divide(np.maximum(mutual, 0), mean, out=np.ones_like(mean), where=mean > 0))


def adjusted_rand_index(table: Floats) -> Floats:
    """Compute the adjusted Rand index [R], the chance-corrected agreement of pairs, of contingency tables [R, K, C]."""
    both = _pairs(table).sum(axis=(1, 2))
    clusters, classes = _pairs(table.sum(axis=2)).sum(axis=1), _pairs(table.sum(axis=1)).sum(axis=1)
    expected = clusters * classes / _pairs(table.sum(axis=(1, 2)))
    most = (clusters + classes) / 2
    return np.asarray(np.divide(both - expected, most - expected, out=np.ones_like(most), where=most != expected))


def contingency(y: NDArray[np.int64], clusters: NDArray[np.int64], weights: Floats) -> Floats:
    """Sum the weights of the films of every cluster and class.

    Args:
        y: [N] class of each film.
        clusters: [N] cluster of each film.
        weights: [R, N] weights of the films.

    Returns:
        [R, K, C] contingency tables.
    """
    shape = int(clusters.max()) + 1, int(y.max()) + 1
    cell = clusters.astype(np.int64) * shape[1] + y
    member = np.zeros((len(y), shape[0] * shape[1]))
    member[np.arange(len(y)), cell] = 1
    return np.asarray((weights @ member).reshape(-1, *shape))


def _estimate(agreement: Estimate, y: NDArray[np.int64], clusters: NDArray[np.int64]) -> Estimate:
    return lambda weights: agreement(contingency(y, clusters, weights))


def _entropy(p: Floats) -> Floats:
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=1))


def _pairs(count: Floats) -> Floats:
    return count * (count - 1) / 2
