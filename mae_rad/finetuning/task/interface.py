"""The interface of a finetuning task: labelled films, targets, validation, final evaluation.

Legend: F films.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.finetuning.results.final_evaluation import FinalEvaluation
from mae_rad.finetuning.task.labelled_films import Cut, Target
from mae_rad.finetuning.task.settings import FinetuneSettings

T = TypeVar("T")


class FilmOutputs(NamedTuple):
    """Outputs of the head for the films of one split.

    Attributes:
        rows: [F] int64 rows of the index of the task.
        outputs: F outputs, as returned by :meth:`Task.split_by_film`.
    """

    rows: NDArray[np.int64]
    outputs: list[Any]


class Task(ABC, Generic[T]):
    """A supervised task on labelled films.

    Args:
        settings: of the run.
        index: films of all splits.

    Raises:
        UserError: the labels of the settings are not in the shards.
    """

    stack: Any
    """Sequence[T] → :class:`Targets`; a picklable function, called in the workers."""

    def __init__(self, settings: FinetuneSettings, index: ShardIndex) -> None:
        self.settings, self.index = settings, index

    @abstractmethod
    def has_target(self, split: str) -> NDArray[np.bool_]:
        """Films that have a target.

        Args:
            split: decides which label policy counts: that of training for ``train``, else that of evaluation.

        Returns:
            [films of the index] bool.
        """

    def check(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        """Refuse splits that cannot be trained on or evaluated.

        Args:
            rows: split → [films] int64 rows of the index.

        Raises:
            EvaluationError: with what is missing.
        """

    @abstractmethod
    def target(self, rows: NDArray[np.int64]) -> Target[T]:
        """Targets of the training films.

        Args:
            rows: [films] int64 rows of the index.

        Returns:
            A callable that takes positions in ``rows``.
        """

    def cut(self) -> Cut[T] | None:
        """Parts of a film to train on; None trains on whole films."""
        return None

    @abstractmethod
    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Sampling weights of the training films.

        Args:
            rows: [films] int64 rows of the index.

        Returns:
            [films] relative frequencies; None draws all films equally often.
        """

    @abstractmethod
    def training_answers(self, rows: NDArray[np.int64]) -> dict[str, dict[str, int]]:
        """Count the training films by what is known of them.

        Args:
            rows: [films] int64 rows of the index.

        Returns:
            Title of the target → value → number of films.
        """

    @abstractmethod
    def split_by_film(self, outputs: Any) -> list[Any]:
        """Split the outputs of the head for films of one grid into one output per film, on the CPU."""

    @abstractmethod
    def validate(self, predicted: FilmOutputs) -> dict[str, float]:
        """Metrics of the val films, by name."""

    @abstractmethod
    def selection_score(self, values: dict[str, float]) -> float:
        """Score that selects the best weights, from the values of :meth:`validate`; higher is better, NaN skips."""

    @abstractmethod
    def evaluate_final(self, val: FilmOutputs, test: FilmOutputs | None, folder: Path) -> FinalEvaluation:
        """Evaluate the best weights, and write tables and pictures.

        Args:
            val: outputs for the val films.
            test: outputs for the test films; None without any.
            folder: receives the files.

        Returns:
            Calibration, operating points and metrics to export with the weights.
        """
