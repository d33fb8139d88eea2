"""What the words and numbers of ``comparison.parquet`` look like before people."""

import math
from typing import NamedTuple

from mae_rad.evaluation.results.rows import FLOOR
from mae_rad.evaluation.statistics.intervals import Interval
from mae_rad.objectives import OBJECTIVES
from mae_rad.objectives.interface import MethodLabel


class Metric(NamedTuple):
    """A metric.

    Attributes:
        name: shown.
        meaning: one sentence.
        chance: what a guess scores; None where that depends on the films.
        unit: of the axis; empty for a plain number.
        lower_is_better: as for an error.
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
        "average precision", "Share of true films among those ranked first, averaged; depends on how common they are."
    ),
    "balanced_accuracy": Metric("balanced accuracy", "Share of each class that is recognised, averaged over classes."),
    "r2": Metric("explained variance (R²)", "Share of the variation that is predicted: 0 is guessing the mean.", 0.0),
    "mean_absolute_error": Metric("mean error", "How far a prediction is off, on average.", None, "years", True),
    "rankme": Metric("effective rank", "How many directions of the embedding are in use (RankMe)."),
    "alignment": Metric("alignment", "Distance between films that belong together; small is close.", None, "", True),
    "uniformity": Metric("uniformity", "How evenly the films fill the space; lower is more even.", None, "", True),
    "linear_cka": Metric("similarity (CKA)", "How alike two encoders arrange the same films: 0 not at all, 1 equally."),
    "recall_at_1": Metric("found first", "Share of films whose nearest neighbour is a wanted one."),
    "recall_at_10": Metric("found among ten", "Share of films with a wanted one among their ten nearest neighbours."),
    "nmi": Metric("normalised mutual information", "How well clusters without labels match the classes.", 0.0),
    "ari": Metric("adjusted Rand index", "How well clusters without labels match the classes.", 0.0),
}
"""Metric → words; one that has none yet is told as it stands."""

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
"""Probes that learn a task from labels."""

METHODS = {
    "supervised": MethodLabel("supervised", "learned from labels"),
    "random": MethodLabel("random", "not trained at all: the floor that any training must beat"),
    "pca": MethodLabel("pixel PCA", "no network: principal components of the pixels"),
    "imported": MethodLabel("imported", "trained elsewhere, its weights taken over"),
    "foreign": MethodLabel("foreign", "trained elsewhere, its vectors taken over"),
}
"""Methods that are no objective; an objective has a label of its own."""
ARMS = {
    "sample_matched": "equally many films seen",
    "compute_matched": "equally much computation",
    "both": "equally many films seen and equally much computation",
    "none": "films and computation not matched",
}


def metric_of(name: str) -> Metric:
    """Words of a metric."""
    if name.startswith("map_at_"):
        depth = name.removeprefix("map_at_")
        return Metric(
            f"mean average precision at {depth}", f"How far up among {depth} neighbours the wanted films stand."
        )
    return METRICS.get(name, Metric(name.replace("_", " "), ""))


def probe_name(probe: str) -> str:
    """Words of a probe."""
    return PROBES.get(probe, probe.replace("_", " "))


def method_label(method: str) -> MethodLabel:
    """Words of a method; one that this installation does not know keeps its name, without a sentence."""
    if method in OBJECTIVES:
        return OBJECTIVES[method].label
    return METHODS.get(method, MethodLabel(method, ""))


def method_name(method: str) -> str:
    """Short name of a method."""
    return method_label(method).short


def plain(name: str) -> str:
    """A task, label or column as words."""
    return name if name == FLOOR else name.replace("_", " ")


def subset_name(subset: str) -> str:
    """A subset as words: ``body_part=HAND`` → body part HAND, ``within model`` → of one model."""
    if subset.startswith("within "):
        return plain(subset.replace("within", "of one", 1))
    return plain(subset).replace("=", " ")


def signed(value: float, digits: int = 3) -> str:
    """+0.012, −0.012."""
    return f"{value + 0.0:+.{digits}f}".replace("-", "−")


def interval_text(interval: Interval, *, signs: bool = False) -> str:
    """0.912 [0.887, 0.934], or +0.012 [−0.003, +0.027]; a bound that is not known is told."""

    def number(value: float) -> str:
        return signed(value) if signs else f"{value:.3f}".replace("-", "−")

    if not math.isfinite(interval.value):
        return "not defined"
    if not math.isfinite(interval.low):
        return f"{number(interval.value)} [no interval]"
    return f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"
