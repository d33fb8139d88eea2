"""Tasks by name; their heads and settings are in ``mae_rad/heads``."""

from collections.abc import Callable
from typing import Any

from mae_rad.data.shards import ShardIndex
from mae_rad.finetuning.classification import Classification
from mae_rad.finetuning.detection import Detection
from mae_rad.finetuning.settings import FinetuneSettings
from mae_rad.finetuning.task import Task

TASKS: dict[str, Callable[[FinetuneSettings, ShardIndex], Task[Any]]] = {
    "classification": Classification,
    "detection": Detection,
}


def build_task(settings: FinetuneSettings, index: ShardIndex) -> Task[Any]:
    """The task that the settings describe, on the films of ``index``, of all splits."""
    return TASKS[settings.task.name](settings, index)
