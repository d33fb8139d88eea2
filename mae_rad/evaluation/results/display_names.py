"""Displayed names of the values of ``comparison.parquet``, and formats of its numbers."""

import math
from typing import NamedTuple

from mae_rad.evaluation.results.rows import RANDOM_BASELINE
from mae_rad.evaluation.statistics.intervals import Interval
from mae_rad.objectives import OBJECTIVES
from mae_rad.objectives.interface import MethodLabel


class Metric(NamedTuple):
    """Displayed texts of a metric.

    Attributes:
        name: displayed name.
        meaning: explanation in one sentence.
        chance: value of a random prediction; None if it depends on the films.
        unit: unit of the axis; empty for a number without unit.
        lower_is_better: True for errors and distances.
    """

    name: str
    meaning: str
    chance: float | None = None
    unit: str = ""
    lower_is_better: bool = False


METRICS = {
    "auroc": Metric(
        "AUROC",
        "How often a film with the finding is ranked above one without it: 0.5 is guessing, 1 is perfect.",
        0.5,
    ),
    "macro_auroc": Metric("mean AUROC", "AUROC of each class against all others, averaged.", 0.5),
    "average_precision": Metric(
        "average precision",
        "Fraction of positive films among those ranked first, averaged; depends on their frequency.",
    ),
    "balanced_accuracy": Metric(
        "balanced accuracy", "Fraction of each class that is recognised, averaged over classes."
    ),
    "accuracy": Metric("accuracy", "Fraction of films whose most probable class is the true one."),
    "calibration_error": Metric(
        "calibration error",
        "Mean distance of the probability of the most probable class from the fraction of films that it is right for;"
        " lower is better.",
        lower_is_better=True,
    ),
    "log_loss": Metric(
        "log-loss",
        "Mean surprise about the true class, in nats; lower is better, guessing among C classes is ln C.",
        lower_is_better=True,
    ),
    "r2": Metric(
        "explained variance (R²)", "Fraction of the variance that is predicted: 0 is predicting the mean.", 0.0
    ),
    "mean_absolute_error": Metric(
        "mean absolute error",
        "Mean distance of a prediction from the true number, in the unit of the number; lower is better.",
        lower_is_better=True,
    ),
    "rankme": Metric("effective rank", "Number of directions of the embedding that are used (RankMe)."),
    "alignment": Metric(
        "alignment", "Distance between films of the same anatomy of one patient; small is close.", None, "", True
    ),
    "uniformity": Metric("uniformity", "How evenly the films fill the space; lower is more even.", None, "", True),
    "linear_cka": Metric(
        "similarity (CKA)", "How similarly two encoders arrange the same films: 0 not at all, 1 equally."
    ),
    "recall_at_1": Metric("recall at 1", "Fraction of films whose nearest neighbour is relevant."),
    "recall_at_10": Metric(
        "recall at 10", "Fraction of films with a relevant film among their ten nearest neighbours."
    ),
    "nmi": Metric("normalised mutual information", "How well clusters without labels match the classes.", 0.0),
    "ari": Metric("adjusted Rand index", "How well clusters without labels match the classes.", 0.0),
}
"""Metric → displayed texts; a metric without an entry is displayed under its own name."""

PROBES = {
    "linear": "linear probe",
    "knn": "nearest neighbours",
    "attentive": "attentive probe",
    "retrieval": "retrieval",
    "clustering": "clusters",
    "geometry": "geometry",
    "shortcut": "shortcuts",
}
LABELLED = ("linear", "knn", "attentive")
"""Probes that are trained on the labels of a task."""

METHODS = {
    "supervised": MethodLabel("supervised", "trained with labels"),
    "random": MethodLabel("random", "not trained: the baseline that any training must exceed"),
    "pca": MethodLabel("pixel PCA", "no network: principal components of the pixels"),
    "imported": MethodLabel("imported", "trained elsewhere, with imported weights"),
    "foreign": MethodLabel("foreign", "trained elsewhere, with imported vectors"),
}
"""Methods that are not an objective; an objective defines its own label."""
ARMS = {
    "sample_matched": "equal numbers of films",
    "compute_matched": "equal computation",
    "both": "equal numbers of films and equal computation",
    "none": "films and computation not matched",
}


def metric_of(name: str) -> Metric:
    """Return the displayed texts of a metric."""
    if name.startswith("map_at_"):
        depth = name.removeprefix("map_at_")
        return Metric(
            f"mean average precision at {depth}", f"How high the relevant films rank among {depth} neighbours."
        )
    return METRICS.get(name, Metric(name.replace("_", " "), ""))


def scale_name(metric: str) -> str:
    """Return the name of the scale of a metric: values on one scale can be compared and may share an axis."""
    return metric_of("auroc" if metric == "macro_auroc" else metric).name


def probe_name(probe: str) -> str:
    """Return the displayed name of a probe."""
    return PROBES.get(probe, probe.replace("_", " "))


def method_label(method: str) -> MethodLabel:
    """Return the displayed texts of a method; an unknown method keeps its name, without an explanation."""
    if method in OBJECTIVES:
        return OBJECTIVES[method].label
    return METHODS.get(method, MethodLabel(method, ""))


def method_name(method: str) -> str:
    """Return the displayed name of a method."""
    return method_label(method).short


def plain_name(name: str) -> str:
    """Return the displayed name of a task, label or column."""
    return name if name == RANDOM_BASELINE else name.replace("_", " ")


def subset_name(subset: str) -> str:
    """Return the displayed name of a subset: ``body_part=HAND`` → body part HAND, ``within model`` → of one model."""
    if subset.startswith("within "):
        return plain_name(subset.replace("within", "of one", 1))
    return plain_name(subset).replace("=", " ")


def signed(value: float, digits: int = 3) -> str:
    """Format a number with its sign: +0.012, −0.012."""
    return f"{value + 0.0:+.{digits}f}".replace("-", "−")


def interval_text(interval: Interval, *, signs: bool = False) -> str:
    """Format an interval: 0.912 [0.887, 0.934], or +0.012 [−0.003, +0.027] with ``signs``.

    Args:
        interval: value and bounds.
        signs: show the sign of positive numbers.
    """

    def number(value: float) -> str:
        return signed(value) if signs else f"{value:.3f}".replace("-", "−")

    if not math.isfinite(interval.value):
        return "not defined"
    if not math.isfinite(interval.low):
        return f"{number(interval.value)} [no interval]"
    return f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"
