"""The submit command: an array of Slurm jobs, each with a part of the shards, and one job that publishes.

A part writes only missing shards, each atomically, so that a task which is preempted and queued again, or a second
array over the same folder, neither repeats nor damages anything.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.archive.manifest import read_manifest
from data_prep.errors import ArchiveError, FolderBusyError, SettingsError
from data_prep.planning.folder_identity import check_not_nested
from data_prep.planning.settings import ShardSettings, SubmitSettings
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.sharding.append import append, append_part
from data_prep.sharding.shard import shard, shard_part

if TYPE_CHECKING:
    from submitit import AutoExecutor
    from submitit.helpers import DelayedSubmission

_LOG_FOLDER = "slurm"
"""Folder of the logs and pickled jobs; inside the private folder, since they contain paths."""
_RETRY_SECONDS = 30.0
_JOB_NAME = "mae_rad_shards"


@dataclass(frozen=True)
class SubmittedJobs:
    """The jobs that were queued.

    Attributes:
        array: id of the array of parts.
        publishing: id of the job that publishes.
        jobs: number of tasks of the array.
        logs: folder of their logs.
    """

    array: str
    publishing: str
    jobs: int
    logs: Path

    def __str__(self) -> str:
        """The jobs, and the commands to follow them, as text."""
        return (
            f"array {self.array} of {self.jobs} tasks writes the shards, job {self.publishing} publishes them\n"
            f"status: squeue -j {self.array},{self.publishing}   logs: {self.logs}\n"
            "the same command again writes missing shards"
        )


@dataclass(frozen=True)
class ShardingJob:
    """One job, which writes ``part`` of the shards, or publishes where ``part`` is None; a requeued job is the same."""

    private: Path
    public: Path
    settings: ShardSettings
    append: bool
    part: str | None = None

    def __call__(self) -> int:
        """Run the job; the number of written shards (of a part) or published films."""
        runtime = self.settings.runtime.model_copy(update={"part": self.part})
        settings = self.settings.model_copy(update={"runtime": runtime})
        while True:
            try:
                if self.part is not None:
                    return (append_part if self.append else shard_part)(self.private, self.public, settings)
                card = (append if self.append else shard)(self.private, self.public, settings)
                return card.files.written if card else 0
            except FolderBusyError:  # another array is running or publishes
                time.sleep(_RETRY_SECONDS)

    def checkpoint(self) -> "DelayedSubmission":
        """The job that submitit queues for one that is preempted or out of time: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(private: Path, public: Path, settings: SubmitSettings, *, append: bool = False) -> SubmittedJobs:
    """Queue the jobs that write shards.

    Args:
        private: folder of the scan, on a disk that all nodes can read, as the archive is.
        public: folder of the shards, on a disk that all nodes can write.
        settings: of the shards and of Slurm.
        append: write the new films of the archive as a further generation.

    Raises:
        SettingsError: submitit is not installed, or ``runtime.part`` is given.
        ArchiveError: ``private`` is no private folder, or the jobs could not be queued.
    """
    if settings.runtime.part is not None:
        raise SettingsError("runtime.part is set by submit for each of its jobs. Leave it out")
    read_manifest(private)
    check_not_nested(private, public)
    shards = ShardSettings.model_validate(settings.model_dump(exclude={"slurm"}))
    runtime = shards.runtime.model_copy(update={"workers": shards.runtime.workers or settings.slurm.cpus})
    shards = shards.model_copy(update={"runtime": runtime})
    publishing = ShardingJob(private.resolve(), public.resolve(), shards, append)
    parts = [replace(publishing, part=f"{number}/{settings.slurm.jobs}") for number in range(settings.slurm.jobs)]
    logs = private.resolve() / _LOG_FOLDER
    os.environ.pop(SECRET_VARIABLE, None)  # jobs need no secret, and Slurm keeps their environment
    try:
        return _queue(_executor(logs, settings), parts, publishing, settings, logs)
    except (OSError, RuntimeError, AssertionError) as error:
        raise ArchiveError(
            f"the jobs could not be queued ({type(error).__name__}). Check that sbatch is installed and accepts the"
            " settings under slurm"
        ) from None


def _queue(
    executor: "AutoExecutor",
    parts: Sequence[ShardingJob],
    publishing: ShardingJob,
    settings: SubmitSettings,
    logs: Path,
) -> SubmittedJobs:
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
    return SubmittedJobs(array, str(last.job_id), len(jobs), logs)


def _executor(logs: Path, settings: SubmitSettings) -> "AutoExecutor":
    try:
        import submitit
    except ImportError:
        raise SettingsError(
            "submit needs the package submitit. Install it with: pip install 'mae_rad[slurm]', or use"
            " launch/slurm/shard.sh"
        ) from None
    slurm = settings.slurm
    logs.mkdir(mode=0o700, exist_ok=True)
    executor = submitit.AutoExecutor(folder=logs, cluster=slurm.cluster)
    executor.update_parameters(
        name=_JOB_NAME,
        timeout_min=slurm.minutes,
        cpus_per_task=slurm.cpus,
        slurm_array_parallelism=slurm.max_parallel,
        slurm_additional_parameters={**_without_none(slurm.model_dump(include={"account", "qos"})), **slurm.extra},
        **_without_none({"mem_gb": slurm.memory_gb, "slurm_partition": slurm.partition}),
    )
    return executor


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
