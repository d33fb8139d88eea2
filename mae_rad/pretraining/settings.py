"""Settings of pretraining. ``runtime`` cannot change a result; everything else can, and is fixed then."""

from mae_rad.data.resolution_schedule import stage_lengths, tokens_at
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.objectives import FILM, AnyObjective
from mae_rad.training.settings import TrainingSettings


class PretrainSettings(TrainingSettings):
    """One pretraining run."""

    encoder: EncoderSettings
    objective: AnyObjective

    @property
    def encoders(self) -> dict[str, EncoderSettings]:
        """Modality → its encoder."""
        return {FILM: self.encoder}

    @property
    def films_per_pass(self) -> int:
        """Films of one forward pass over all ranks."""
        return self.optimizer.batch // self.optimizer.accumulation

    def results(self) -> dict[str, object]:
        """Without what the objective says changes speed alone."""
        objective = self.objective.model_dump(mode="json", exclude=set(self.objective.speed_only))
        return super().results() | {"objective": objective}

    def at(self, step: int) -> "PretrainSettings":
        """These settings with the T of the optimiser step ``step``, counted from 0, and no other stage."""
        return self._sized(
            tokens_at(step, self.optimizer.steps, self.objective.schedule, self.objective.tokens), self.optimizer.steps
        )

    def stages(self) -> list["PretrainSettings"]:
        """Each stage of the run as if it were a run of its own, with its T and its steps."""
        lengths = stage_lengths(self.optimizer.steps, self.objective.schedule, self.objective.tokens)
        return [self._sized(tokens, steps) for tokens, steps in lengths]

    def _sized(self, tokens: int, steps: int) -> "PretrainSettings":
        objective = self.objective.model_copy(update={"tokens": tokens, "schedule": ()})
        optimizer = self.optimizer.model_copy(update={"steps": steps})
        return self.model_copy(update={"objective": objective, "optimizer": optimizer})
