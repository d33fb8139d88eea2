"""Shards from many machines: an array of Slurm jobs, each with a part of the plan, and one job that publishes.

A part writes only shards that are not there, each in one step, so that a task which is preempted and queued again, or a
second array over the same folder, repeats nothing and spoils nothing.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.archive.manifest import read_manifest
from data_prep.deidentify.pseudonyms import SECRET_VARIABLE
from data_prep.errors import ArchiveError, FolderBusyError, SettingsError
from data_prep.planning.folder_identity import check_apart
from data_prep.planning.settings import ShardSettings, SubmitSettings
from data_prep.sharding.append import append, append_part
from data_prep.sharding.shard import shard, shard_part

if TYPE_CHECKING:
    from submitit import AutoExecutor
    from submitit.helpers import DelayedSubmission

_LOGS = "slurm"
"""Folder of the logs and of the pickled jobs, in the private folder: they name paths."""
_LOOK_SECONDS = 30.0
_NAME = "mae_rad_shards"


@dataclass(frozen=True)
class Submitted:
    """What Slurm was given.

    Attributes:
        array: id of the array of parts.
        publishing: id of the job that publishes.
        jobs: tasks of the array.
        logs: where they write.
    """

    array: str
    publishing: str
    jobs: int
    logs: Path

    def __str__(self) -> str:
        """What a person wants to know next."""
        return (
            f"array {self.array} of {self.jobs} tasks writes the shards, job {self.publishing} publishes them\n"
            f"watch: squeue -j {self.array},{self.publishing}   logs: {self.logs}\n"
            "the same command again writes what is missing"
        )


@dataclass(frozen=True)
class ShardingJob:
    """One job: a part of the shards, or, without ``part``, publishing. Slurm's requeue runs it again as it is."""

    private: Path
    public: Path
    settings: ShardSettings
    append: bool
    part: str | None = None

    def __call__(self) -> int:
        """Number of shards (of a part) or films (published)."""
        runtime = self.settings.runtime.model_copy(update={"part": self.part})
        settings = self.settings.model_copy(update={"runtime": runtime})
        while True:
            try:
                if self.part is not None:
                    return (append_part if self.append else shard_part)(self.private, self.public, settings)
                card = (append if self.append else shard)(self.private, self.public, settings)
                return card.files.written if card else 0
            except FolderBusyError:  # another array has not ended yet, or publishes
                time.sleep(_LOOK_SECONDS)

    def checkpoint(self) -> "DelayedSubmission":
        """What submitit queues in the place of a job that is preempted or out of time: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(private: Path, public: Path, settings: SubmitSettings, *, append: bool = False) -> Submitted:
    """Queue the writing of shards.

    Args:
        private: folder of the scan, on a disk that all nodes see, like the archive itself.
        public: folder of the shards, likewise.
        settings: of the shards and of Slurm.
        append: write what the archive has gained, as a further generation.

    Raises:
        SettingsError: submitit is not installed, or ``runtime.part`` is given.
        ArchiveError: no private folder, or Slurm does not answer.
    """
    if settings.runtime.part is not None:
        raise SettingsError("runtime.part is what submit gives to its jobs; leave it out")
    read_manifest(private)
    check_apart(private, public)
    shards = ShardSettings.model_validate(settings.model_dump(exclude={"slurm"}))
    runtime = shards.runtime.model_copy(update={"workers": shards.runtime.workers or settings.slurm.cpus})
    shards = shards.model_copy(update={"runtime": runtime})
    work = ShardingJob(private.resolve(), public.resolve(), shards, append)
    parts = [replace(work, part=f"{number}/{settings.slurm.jobs}") for number in range(settings.slurm.jobs)]
    logs = private.resolve() / _LOGS
    os.environ.pop(SECRET_VARIABLE, None)  # jobs need no secret, and Slurm keeps their environment
    try:
        return _queue(_executor(logs, settings), parts, work, settings, logs)
    except (OSError, RuntimeError, AssertionError) as error:
        raise ArchiveError(
            f"the jobs could not be queued ({type(error).__name__}): is sbatch there, and does it take the settings"
            " under slurm?"
        ) from None


def _queue(
    executor: "AutoExecutor",
    parts: Sequence[ShardingJob],
    publishing: ShardingJob,
    settings: SubmitSettings,
    logs: Path,
) -> Submitted:
    with executor.batch():
        jobs = [executor.submit(part) for part in parts]
    array = jobs[0].job_id.split("_")[0]
    if settings.slurm.cluster == "local":
        for job in jobs:
            job.result()
    else:
        executor.update_parameters(
            slurm_additional_parameters={**settings.slurm.extra, "dependency": f"afterany:{array}"}
        )
    last = executor.submit(publishing)
    if settings.slurm.cluster == "local":
        last.result()
    return Submitted(array, str(last.job_id), len(jobs), logs)


def _executor(logs: Path, settings: SubmitSettings) -> "AutoExecutor":
    try:
        import submitit
    except ImportError:
        raise SettingsError(
            "submit needs submitit: pip install 'mae_rad[slurm]', or use launch/slurm/shard.sh"
        ) from None
    slurm = settings.slurm
    logs.mkdir(mode=0o700, exist_ok=True)
    executor = submitit.AutoExecutor(folder=logs, cluster=slurm.cluster)
    executor.update_parameters(
        name=_NAME,
        timeout_min=slurm.minutes,
        cpus_per_task=slurm.cpus,
        slurm_array_parallelism=slurm.max_parallel,
        slurm_additional_parameters={**_given(slurm.model_dump(include={"account", "qos"})), **slurm.extra},
        **_given({"mem_gb": slurm.memory_gb, "slurm_partition": slurm.partition}),
    )
    return executor


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
