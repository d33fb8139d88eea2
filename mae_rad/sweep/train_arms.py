"""Train arms or trials, each in a process of its own; an interrupted sweep continues where it stopped."""

import logging
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.runtime.worker_pool import die_with_parent
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.sweep.arms import Arm

STOPPED = 75
"""Exit code of a training that saved a checkpoint and stopped early."""
_POLL_SECONDS = 0.5
_OF_LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher gives the process of a sweep; a training in it has one rank, and a port of its own."""

_log = logging.getLogger(__name__)


class ArmSource(ABC):
    """What a sweep trains: says what comes next, and learns how it ended."""

    @abstractmethod
    def take(self) -> Arm[Any] | None:
        """Return the next arm to train; None if there is none now."""

    def gives_up(self, arm: Arm[Any]) -> bool:
        """Whether a running training is to end now; asked again and again."""
        del arm
        return False

    @abstractmethod
    def ended(self, arm: Arm[Any], failure: str | None) -> None:
        """Take note that a training has ended.

        Args:
            arm: what was trained.
            failure: last line that it printed; None after one that finished.
        """

    def stopped(self, arm: Arm[Any]) -> None:
        """Take note that a training stopped early, with a checkpoint from which the same command continues."""
        del arm


class GivenArms(ArmSource):
    """Arms that are known before the first is trained.

    Attributes:
        failed: arm → the last line that its failed training printed.

    Args:
        arms: with their run folders.
    """

    def __init__(self, arms: Sequence[Arm[Any]]) -> None:
        self.failed: dict[str, str] = {}
        self._waiting = list(arms)

    def take(self) -> Arm[Any] | None:
        """Return the arms in the order given."""
        return self._waiting.pop(0) if self._waiting else None

    def ended(self, arm: Arm[Any], failure: str | None) -> None:
        """Keep why a training failed."""
        if failure is not None:
            self.failed[arm.name] = failure
            _log.warning("%s: failed: %s", arm.name, failure)


class ArmTraining:
    """The process of one arm; its output is ``ARM.log`` beside the run folder.

    Args:
        arm: the arm.
        config: config that all arms start from.
        common: settings of all arms.
        log: file of its output, appended to.
    """

    def __init__(self, arm: Arm[Any], config: Path, common: Sequence[str], log: Path) -> None:
        self.arm, self.log, self.is_given_up = arm, log, False
        command = "finetune" if isinstance(arm.settings, FinetuneSettings) else "pretrain"
        words = [sys.executable, "-m", "mae_rad", command, "--config", str(config), *common, *arm.overrides]
        environment = {name: value for name, value in os.environ.items() if name not in _OF_LAUNCHERS}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                words,
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env=environment,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - it takes no lock of ours
            )

    def end(self) -> None:
        """Ask it to save a checkpoint and to end, and wait until it has."""
        self.is_given_up = True
        self.process.terminate()
        self.process.wait()


def train_arms(source: ArmSource, config: Path, common: Sequence[str], *, side_by_side: int) -> bool:
    """Train all arms; a finished one ends at once, since its run folder says so.

    Args:
        source: the arms, with their run folders.
        config: config that all arms start from.
        common: settings of all arms.
        side_by_side: number of trainings at the same time.

    Returns:
        Whether a training stopped early, after which the same command continues it.
    """
    is_stopped, running = False, list[ArmTraining]()
    try:
        while True:
            while len(running) < side_by_side and not is_stopped and (arm := source.take()):
                running.append(_start(arm, config, common))
            if not running:
                return is_stopped
            time.sleep(_POLL_SECONDS)
            for training in list(running):
                if training.process.poll() is None and source.gives_up(training.arm):
                    training.end()
                if training.process.poll() is not None:
                    running.remove(training)
                    is_stopped = _report_end(source, training) or is_stopped
    finally:
        for training in running:  # an interrupted sweep leaves no training behind
            training.process.terminate()
        for training in running:
            training.process.wait()


def _start(arm: Arm[Any], config: Path, common: Sequence[str]) -> ArmTraining:
    run_dir = arm.settings.runtime.run_dir
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    _log.info("%s: started", arm.name)
    return ArmTraining(arm, config, common, run_dir.parent / f"{arm.name}.log")


def _report_end(source: ArmSource, training: ArmTraining) -> bool:
    """Tell the source how a training ended; returns whether it stopped early without being asked to."""
    arm, code = training.arm, training.process.returncode
    if code == STOPPED and not training.is_given_up:
        source.stopped(arm)
        return True
    failure = _last_line(training.log) if code else None
    if failure is None:
        _log.info("%s: done", arm.name)
    source.ended(arm, failure)
    return False


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
