"""The interface of a training task: model, batches, evaluations and results of a training."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Protocol

import pyarrow.compute as pc
import torch

from data_prep.folder_url import PublicFolder, folder_name
from mae_rad.data.film_order import StepRange
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.objectives.interface import Trainable
from mae_rad.tracking import DataUsed, RegisteredModel
from mae_rad.training.deepspeed_engine import Ranks
from mae_rad.training.run_folder import RunFolder
from mae_rad.training.settings import TrainingSettings


class AnyBatch(Protocol):
    """A batch, as far as the loop uses it."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Film keys."""

    def to(self, device: Any) -> "AnyBatch":
        """Copy to ``device``."""


DrawnBatch = tuple[AnyBatch, tuple[str, ...]]
"""A batch, and the reasons of films that were skipped for it."""


class TrainingTask(ABC):
    """A training: pretraining or finetuning. It is built, and has read the index of the films, before the ranks join.

    Attributes:
        settings: settings of the run.
        kind: kind of training, as displayed.
        name: name of the objective or task.
        dataset_sha256: checksum of the shards.
        joined: what the provenance says of the folders beside that, see :class:`ShardIndex`.
        data_used: training films, for the tracking store.
        is_complete: whether an evaluation has ended the training before its last step; equal on all ranks.
    """

    settings: TrainingSettings
    kind: str
    name: str
    dataset_sha256: str
    joined: Mapping[str, str] = MappingProxyType({})
    data_used: DataUsed
    is_complete: bool = False

    @abstractmethod
    def build_model(self, ranks: Ranks) -> Trainable:
        """Build the model with its initial weights on the device of this rank."""

    @abstractmethod
    def iterate_batches(self, steps: StepRange, device: torch.device) -> Iterator[DrawnBatch]:
        """Yield the micro batches of a rank; called once, after the weights are loaded.

        Args:
            steps: steps from the start or resumption of the run to its end, with rank and batch size.
            device: device of the rank.
        """

    @abstractmethod
    def training_flops(self, step: int) -> float:
        """FLOPs of a film, forward and backward, in optimiser step ``step``; NaN if unknown."""

    def begin_step(self, step: int, folder: RunFolder, ranks: Ranks) -> None:  # noqa: B027 - does nothing by default
        """Prepare an optimiser step, before its films are drawn; every rank calls it. Does nothing by default.

        Args:
            step: optimiser step, counted from 0.
            folder: run folder.
            ranks: rank of this process and number of ranks.
        """

    def begin(self, done: int, folder: RunFolder, ranks: Ranks) -> Mapping[str, float]:
        """Evaluate before the first step of this start, with the weights loaded; every rank calls it.

        Args:
            done: optimiser steps taken by earlier starts of the run.
            folder: run folder.
            ranks: rank of this process and number of ranks.

        Returns:
            As :meth:`evaluate`, which does it unless the run is new.
        """
        return (self.evaluate(done, folder, ranks) or {}) if done else {}

    def evaluates(self, done: int) -> bool:
        """Whether :meth:`evaluate` uses the model after ``done`` optimiser steps."""
        del done
        return True

    @abstractmethod
    def evaluate(self, done: int, folder: RunFolder, ranks: Ranks) -> Mapping[str, float] | None:
        """Evaluate the model if ``done`` is at an interval; every rank calls it after every step.

        A run that resumes at ``done`` evaluates again and writes the same.

        Args:
            done: optimiser steps taken.
            folder: run folder.
            ranks: rank of this process and number of ranks.

        Returns:
            Metrics of the evaluation on rank 0 for the monitor; elsewhere and without any, none.
        """

    @abstractmethod
    def finish(self, folder: RunFolder, ranks: Ranks) -> None:
        """Write the result of the run; every rank calls it, with full parameters on every rank."""

    def result(self, folder: RunFolder) -> RegisteredModel | None:
        """Return what the model registry keeps of a finished run; None by default."""
        del folder
        return None

    @abstractmethod
    def conclusion(self, folder: RunFolder) -> str:
        """Say where the results are, and which commands continue from them."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """SHA-256 of all that the run reads beside the index and its settings; a resumed run must share them."""
        return {}

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run in the tracking store."""
        segments = self._segments()
        tags = {"stage": self.kind, "objective": self.name, "dataset_sha256": self.dataset_sha256}
        said = {name: text for name, text in self.joined.items() if name != "datasets"}  # it may be too long for a tag
        return {**tags, **said, **segments}

    def _segments(self) -> dict[str, str]:
        """Lengths of the segments of an extended run in steps; nothing for other runs."""
        optimizer = self.settings.optimizer
        lengths = [end - start for start, end in pairwise((0, *optimizer.segment_ends))]
        return {"segments": f"{' + '.join(map(str, lengths))} steps"} if optimizer.segments else {}

    def provenance(self) -> dict[str, str | int | float | None]:
        """Return the provenance of the weights: hashes, counts and versions; it becomes public."""
        settings = self.settings
        return {
            "objective": self.name,
            "steps": settings.optimizer.steps,
            "films_seen": settings.optimizer.steps * settings.optimizer.batch,
            "seed": settings.seed,
            "dataset_sha256": self.dataset_sha256,
            **self.joined,
            "config_sha256": hashlib.sha256(json.dumps(settings.results(), sort_keys=True).encode()).hexdigest(),
            "version": version("mae_rad"),
            **self._segments(),
            **({"average_decay": decay} if (decay := settings.optimizer.average_decay) else {}),
        }


def training_films(folders: Sequence[PublicFolder], films: ShardIndex) -> DataUsed:
    """Describe the films that a run trains on; neither paths nor keys enter.

    Args:
        folders: public folders.
        films: training films of these folders.
    """
    name = "+".join(folder_name(folder) for folder in folders)
    patients = int(pc.count_distinct(films.table.column("patient")).as_py())
    return DataUsed(name, films.dataset_sha256, "training", {"train_films": len(films), "train_patients": patients})
