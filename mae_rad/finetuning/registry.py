"""Finetuning tasks by name; their heads and settings are in ``mae_rad/heads``."""

from collections.abc import Callable
from typing import Any

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.finetuning.classification.task import Classification
from mae_rad.finetuning.detection.task import Detection
from mae_rad.finetuning.task.interface import Task
from mae_rad.finetuning.task.settings import FinetuneSettings

TASKS: dict[str, Callable[[FinetuneSettings, ShardIndex], Task[Any]]] = {
    "classification": Classification,
    "detection": Detection,
}


def build_task(settings: FinetuneSettings, index: ShardIndex) -> Task[Any]:
    """Build the task of ``settings`` on the films of ``index``, which has all splits."""
    return TASKS[settings.task.name](settings, index)
