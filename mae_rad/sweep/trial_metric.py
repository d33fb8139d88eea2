"""The metric by which trials are chosen: one of the validation films, of those that the training logs."""

import difflib
from pathlib import Path
from typing import Literal, NamedTuple

from mae_rad.errors import SettingsError
from mae_rad.export.encoder_folder import read_settings
from mae_rad.export.predictor_card import PredictorCard
from mae_rad.finetuning.task.early_stopping import is_lower_better
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.pretraining.online_probe import online_probe
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.run_folder import logged_metrics


class TrialMetric(NamedTuple):
    """The metric of a sweep.

    Attributes:
        name: as in ``metrics.jsonl``: val/auroc, probe/knn.
        is_finetuning: its value is that of the exported weights, which are the best of the run; else the last one.
    """

    name: str
    is_finetuning: bool

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """``maximize``, or ``minimize`` for a loss or an error."""
        return "minimize" if is_lower_better(self.name) else "maximize"

    def values(self, run: Path) -> dict[int, float]:
        """Read the values of a run so far: step → value, without step 0."""
        logged = logged_metrics(run / "metrics.jsonl")
        return {step: values[self.name] for step, values in logged if step and self.name in values}

    def result(self, run: Path) -> tuple[int, float] | None:
        """Step and value of the weights that a finished run exports; None where it has no value there.

        Raises:
            WeightsError: a finetuning has no predictor.
        """
        values = self.values(run)
        if self.is_finetuning:
            card = read_settings(run / "predictor" / "predictor.json", PredictorCard, "a predictor", "a finetuning")
            step = int(card.provenance.get("best_step") or 0)
        else:
            step = max(values, default=0)
        return (step, values[step]) if step in values else None


def choose_metric(settings: PretrainSettings | FinetuneSettings, requested: str | None) -> TrialMetric:
    """Choose the metric, before anything is trained.

    Args:
        settings: that all trials share.
        requested: name, with or without ``val/``; None takes the one that selects the weights of a finetuning.

    Raises:
        SettingsError: it is not logged by such a training; those that are stand in the text.
    """
    if isinstance(settings, FinetuneSettings):
        name = (requested or settings.selection_metric).removeprefix("val/")
        _check(name, settings.task.validation_metrics)
        return TrialMetric(f"val/{name}", is_finetuning=True)
    if settings.runtime.probe_every == 0:
        raise SettingsError(
            "trials of a pretraining are chosen by the online probe of validation films, which is off. Give"
            " runtime.probe_every=STEPS"
        )
    probe = online_probe(settings, announce=False)
    names = ["probe/rankme", *(f"probe/{question.metric}" for question in probe.questions)] if probe else []
    if not names:
        raise SettingsError("the shards have too few validation films for a probe. Shard with splits.val above 0")
    if requested is None:
        raise SettingsError(f"give --metric, by which trials are chosen: one of {', '.join(names)}")
    _check(requested, names)
    return TrialMetric(requested, is_finetuning=False)


def _check(name: str, names: "list[str] | tuple[str, ...]") -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        nearest = f" Did you mean {close[0]}?" if close else ""
        raise SettingsError(f"--metric {name} is not logged by this training.{nearest} It logs {', '.join(names)}")
