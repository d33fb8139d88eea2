"""What finetuning knows of a task: films to learn from, targets, validation, final evaluation.

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
    """Films of one split, and the outputs of the head for each.

    Attributes:
        rows: F places in the index that the task was made with.
        outputs: F outputs, as :meth:`Task.split_by_film` gives them.
    """

    rows: NDArray[np.int64]
    outputs: list[Any]


class Task(ABC, Generic[T]):
    """What a head is trained for on labelled films.

    Args:
        settings: of the run.
        index: films of all splits.

    Raises:
        UserError: there are no such labels.
    """

    stack: Any
    """Sequence[T] → :class:`Targets`: a function that travels to the workers."""

    def __init__(self, settings: FinetuneSettings, index: ShardIndex) -> None:
        self.settings, self.index = settings, index

    @abstractmethod
    def known(self, split: str) -> NDArray[np.bool_]:
        """[films of the index] of which films something is known, by what counts for ``split``."""

    def check(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        """Refuse films of train, val and test from which nothing can be learned or evaluated.

        Raises:
            EvaluationError: says what is missing.
        """

    @abstractmethod
    def target(self, rows: NDArray[np.int64]) -> Target[T]:
        """Targets of the training films ``rows``, asked by their place in ``rows``."""

    def cut(self) -> Cut[T] | None:
        """What training looks at instead of whole films."""
        return None

    @abstractmethod
    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """[rows] how often each training film is drawn; None draws all alike."""

    @abstractmethod
    def split_by_film(self, outputs: Any) -> list[Any]:
        """Outputs of the head for films of one grid, film by film, on the CPU."""

    @abstractmethod
    def validate(self, predicted: FilmOutputs) -> dict[str, float]:
        """Metrics of val films, by name."""

    @abstractmethod
    def selection_score(self, values: dict[str, float]) -> float:
        """What the best weights are chosen by, of :meth:`validate`'s values: higher is better; NaN chooses nothing."""

    @abstractmethod
    def evaluate_final(self, val: FilmOutputs, test: FilmOutputs | None, folder: Path) -> FinalEvaluation:
        """Evaluate the best weights for the last time, and write tables and pictures into ``folder``."""
