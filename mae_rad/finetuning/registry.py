"""Finetuning tasks by name; their heads and settings are in ``mae_rad/heads``."""

from collections.abc import Callable
from typing import Any

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.finetuning.classification.task import Classification
from mae_rad.finetuning.detection.task import Detection
from mae_rad.finetuning.multiclass.task import Multiclass
from mae_rad.finetuning.regression.task import Regression
from mae_rad.finetuning.task.interface import Task
from mae_rad.finetuning.task.settings import FinetuneSettings

TASKS: dict[str, Callable[[FinetuneSettings, ShardIndex], Task[Any]]] = {
    "classification": Classification,
    "detection": Detection,
    "regression": Regression,
    "multiclass": Multiclass,
}


def build_task(settings: FinetuneSettings, index: ShardIndex) -> Task[Any]:
    """Build a task.

    Args:
        settings: of the run; ``task.name`` selects the class.
        index: films of all splits.

    Returns:
        The task.
    """
    return TASKS[settings.task.name](settings, index)
