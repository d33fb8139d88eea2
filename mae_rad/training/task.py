"""What the loop trains: a model, its batches, and what is evaluated and written besides and after the steps."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Protocol

import torch

from mae_rad.data.film_order import StepRange
from mae_rad.objectives.interface import Trainable
from mae_rad.training.deepspeed_engine import Ranks
from mae_rad.training.run_folder import RunFolder
from mae_rad.training.settings import TrainingSettings


class AnyBatch(Protocol):
    """What the loop knows of a batch."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of its films."""

    def to(self, device: Any) -> "AnyBatch":
        """Copy to ``device``."""


DrawnBatch = tuple[AnyBatch, tuple[str, ...]]
"""A batch, and why films were skipped for it."""


class TrainingTask(ABC):
    """One training: pretraining or finetuning. It is built before the ranks join, and has read which films exist.

    Attributes:
        settings: of the run.
        kind: of training, as it is displayed.
        name: of what is trained.
        dataset_sha256: of the shards.
    """

    settings: TrainingSettings
    kind: str
    name: str
    dataset_sha256: str

    @abstractmethod
    def model(self, ranks: Ranks) -> Trainable:
        """The model with the weights that training begins with, on the device of this rank."""

    @abstractmethod
    def batches(self, steps: StepRange, device: torch.device) -> Iterator[DrawnBatch]:
        """The micro batches of a rank for ``steps``; called once, when the weights are loaded.

        Args:
            steps: from the step where the run begins or resumes; with the rank and the size of its batches.
            device: of the rank.
        """

    @abstractmethod
    def training_flops(self, step: int) -> float:
        """Operations of one film, forward and backward, in ``step``; NaN where they are not known."""

    @abstractmethod
    def evaluate(self, done: int, folder: RunFolder, ranks: Ranks) -> None:
        """Evaluate the model after ``done`` steps, at intervals; every rank calls it after every step.

        A run that resumes at ``done`` evaluates again: what is written is the same.

        Args:
            done: optimiser steps.
            folder: of the run.
            ranks: this one among all.
        """

    @abstractmethod
    def finish(self, folder: RunFolder, ranks: Ranks) -> None:
        """Write the result of the run; every rank calls it, when the parameters are whole."""

    @property
    def tags(self) -> dict[str, str]:
        """What the tracking store can be searched by."""
        return {"stage": self.kind, "objective": self.name, "dataset_sha256": self.dataset_sha256}

    def provenance(self) -> dict[str, str | int | float | None]:
        """Where weights come from: hashes, counts, versions and names of labels; it becomes public."""
        settings = self.settings
        return {
            "objective": self.name,
            "steps": settings.optimizer.steps,
            "films_seen": settings.optimizer.steps * settings.optimizer.batch,
            "seed": settings.seed,
            "dataset_sha256": self.dataset_sha256,
            "config_sha256": hashlib.sha256(json.dumps(settings.results(), sort_keys=True).encode()).hexdigest(),
            "version": version("mae_rad"),
        }
