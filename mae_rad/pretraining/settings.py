"""Settings of pretraining; all but ``runtime`` can change results and are fixed once a run has started."""

from typing import Self

from pydantic import model_validator

from mae_rad.data.augmentation import Augmentation
from mae_rad.data.resolution_schedule import stage_lengths, tokens_at
from mae_rad.encoders.any_encoder import AnyEncoderSettings
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.objectives import FILM, AnyObjective
from mae_rad.pairing.columns import PretrainingLabels
from mae_rad.training.settings import OptimizerSettings, TrainingSettings


class PretrainSettings(TrainingSettings):
    """Settings of a pretraining run."""

    encoder: AnyEncoderSettings
    objective: AnyObjective
    labels: PretrainingLabels = PretrainingLabels()
    """Which labels and facts an objective or a relation may read of the training films."""

    @model_validator(mode="after")
    def _take_rule_of_objective(self) -> Self:
        rule = self.objective.rate_rule
        if "rate_rule" not in self.optimizer.model_fields_set and rule != self.optimizer.rate_rule:
            object.__setattr__(self, "optimizer", self.optimizer.model_copy(update={"rate_rule": rule}))
        return self

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.data.where.get("split", "train") not in ("train", ["train"]):
            raise ValueError("data.where.split must be train: a pretraining takes the train films. Leave it out")
        return self

    @model_validator(mode="after")
    def _check_encoder(self) -> Self:
        self.objective.check_encoder(self.encoder)
        views = self.objective.views().values()
        if self.encoder.film_scale.is_fixed and any(view.padded or view.augmentation.crop for view in views):
            raise ValueError(
                "encoder.scale: native and encoder.mm_per_patch keep the scale of a film, crop and padded change it."
                " Leave out one of the two; a masked autoencoder needs neither crop nor padded"
            )
        encoder, owner = self.encoder, None
        if isinstance(encoder, TimmSettings) and encoder.facts.has_batch_norm:
            owner = encoder.timm
        elif self.objective.needs_whole_batch:
            owner = "the objective"
        if owner and self.optimizer.accumulation > 1:
            raise ValueError(
                f"batch norm of {owner} needs the whole batch in one forward pass. Leave optimizer.accumulation out"
            )
        return self

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        pairs = self.objective.strategy
        if self.data.read == "stream" and not (pairs.partner.is_itself and pairs.batches is None):
            raise ValueError(
                "data.read: stream draws films as they come; leave partner and batches out of objective.pairs, or set"
                " data.read: index"
            )
        if pairs.batches is not None:
            pairs.batches.check(self.films_per_pass)
            if self.data.weights:
                raise ValueError("objective.pairs.batches composes batches by itself; leave data.weights out")
        if self.runtime.zero_stage == 3 and (self.objective.keeps_whole_copy or self.objective.has_rounds):
            raise ValueError(
                f"objective {self.objective.name} needs whole weights beside the training (a second encoder, or vectors"
                " of all films), and runtime.zero_stage=3 partitions them. Choose stage 2"
            )
        return self

    @property
    def encoders(self) -> dict[str, AnyEncoderSettings]:
        """Modality → settings of its encoder."""
        return {FILM: self.encoder}

    @property
    def films_per_pass(self) -> int:
        """Films per forward pass over all ranks."""
        return self.optimizer.batch // self.optimizer.accumulation

    def results(self) -> dict[str, object]:
        """Return the settings that can change a result, without those of the objective that affect only speed."""
        newer = self.objective.off if isinstance(self.objective, Augmentation) else set()
        objective = self.objective.model_dump(mode="json", exclude=set(self.objective.speed_only) | newer)
        results = super().results() | {"objective": objective}
        if self.labels == PretrainingLabels():  # earlier releases did not have it
            results.pop("labels")
        return results

    def at(self, step: int) -> "PretrainSettings":
        """Return the settings with the T of optimiser step ``step``, counted from 0, as the only stage."""
        tokens = tokens_at(step, self.optimizer.scheduled_steps, self.objective.schedule, self.objective.tokens)
        return self._with_size(tokens, self.optimizer)

    def stages(self) -> list["PretrainSettings"]:
        """Return the settings of each stage as a separate run, with its T and steps."""
        first, added = self.optimizer.scheduled_steps, self.optimizer.steps - self.optimizer.scheduled_steps
        lengths = stage_lengths(first, self.objective.schedule, self.objective.tokens, added)
        optimizers = [self.optimizer.model_copy(update={"steps": steps, "segments": ()}) for _, steps in lengths]
        return [self._with_size(tokens, one) for (tokens, _), one in zip(lengths, optimizers, strict=True)]

    def _with_size(self, tokens: int, optimizer: OptimizerSettings) -> "PretrainSettings":
        objective = self.objective.model_copy(update={"tokens": tokens, "schedule": ()})
        return self.model_copy(update={"objective": objective, "optimizer": optimizer})
