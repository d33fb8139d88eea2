"""Names and meanings of the metrics of a finetuning, in plain words."""

import re
from collections.abc import Sequence

from mae_rad.evaluation.results.display_names import metric_of
from mae_rad.finetuning.results.metrics_table import Result

_WORDS = {
    "sensitivity": ("sensitivity", "Share of the films with the finding that are called positive."),
    "specificity": ("specificity", "Share of the films without the finding that are called negative."),
    "positive_predictive_value": (
        "positive predictive value",
        "Share of the positive films that have the finding; depends on how frequent it is.",
    ),
    "negative_predictive_value": (
        "negative predictive value",
        "Share of the negative films that do not have it; depends on how frequent it is.",
    ),
    "calibration_error": (
        "calibration error",
        "How far probabilities are from the share of films that have the finding; 0 is right.",
    ),
    "brier": ("Brier score", "Mean squared error of the probability; lower is better."),
    "log_loss": ("log-loss", "Mean surprise about the truth, in nats; lower is better."),
    "mean_error": ("mean error", "Mean of predicted minus true: 0 for a model that is not off to one side."),
    "accuracy": ("accuracy", "Share of the films whose class is predicted."),
    "recall": ("recall", "Share of the films of a class that are recognised as such."),
    "froc": (
        "FROC score",
        "Mean share of the boxes found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false boxes per film.",
    ),
    "film_auroc": ("AUROC of films", "How often a film with a box gets a higher score than one without."),
    "ap": ("average precision of boxes", "As COCO defines it: the mean over overlaps from 0.5 to 0.95."),
    "ap50": ("AP50", "Average precision of boxes that overlap a true one by half (intersection over union)."),
    "ap75": ("AP75", "The same for an overlap of three quarters."),
}
_UNCALIBRATED = "_uncalibrated"
_SIZES = re.compile(r"(ap|ap50)_(under|\d+_to|from)_(\d+px)")
_SENSITIVITY_AT = "sensitivity_at_"


def metric_name(metric: str) -> str:
    """Name of a metric on the page."""
    if metric.endswith(_UNCALIBRATED):
        return f"{metric_name(metric.removesuffix(_UNCALIBRATED))}, not calibrated"
    if sized := _SIZES.fullmatch(metric):
        size = " ".join(part.replace("_", " ") for part in sized.groups()[1:]).replace("px", " px")
        return f"{metric_name(sized[1])}, objects {size}"
    if metric.startswith(_SENSITIVITY_AT):
        return f"boxes found at {metric.removeprefix(_SENSITIVITY_AT)} false ones per film"
    return _WORDS[metric][0] if metric in _WORDS else metric_of(metric).name


def glossary(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Name and meaning of every metric in ``results`` that needs one, in their order."""
    metrics = dict.fromkeys(result.metric for result in results)
    meanings = {metric_name(metric): _WORDS.get(metric, ("", metric_of(metric).meaning))[1] for metric in metrics}
    return [(name, meaning) for name, meaning in meanings.items() if meaning]
