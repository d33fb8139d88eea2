"""Train the arms of a sweep, each in a process of its own; an interrupted sweep continues where it stopped."""

import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mae_rad.sweep.arms import Arm

STOPPED = 75
"""Exit code of a training that saved a checkpoint and stopped early."""
_POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


class ArmTraining:
    """The process of one arm; its output is ``ARM.log`` beside the run folder.

    Args:
        arm: the arm.
        config: config that all arms start from.
        common: settings of all arms.
        log: file of its output, appended to.
    """

    def __init__(self, arm: Arm, config: Path, common: Sequence[str], log: Path) -> None:
        self.arm, self.log = arm, log
        command = [sys.executable, "-m", "mae_rad", "pretrain", "--config", str(config), *common, *arm.overrides]
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)


def train_arms(
    arms: Sequence[Arm], config: Path, common: Sequence[str], *, side_by_side: int
) -> tuple[dict[str, str], bool]:
    """Train all arms; a finished one ends at once, since its run folder says so.

    Args:
        arms: arms, with their run folders.
        config: config that all arms start from.
        common: settings of all arms.
        side_by_side: number of trainings at the same time.

    Returns:
        Arm → the last line that its failed training printed; and whether a training stopped early, after which the
        same command continues it.
    """
    failed: dict[str, str] = {}
    is_stopped, waiting, running = False, list(arms), list[ArmTraining]()
    try:
        while waiting or running:
            while waiting and len(running) < side_by_side and not is_stopped:
                arm = waiting.pop(0)
                run_dir = arm.settings.runtime.run_dir
                run_dir.parent.mkdir(parents=True, exist_ok=True)
                running.append(ArmTraining(arm, config, common, run_dir.parent / f"{arm.name}.log"))
                _log.info("%s: started, %d more waiting", arm.name, len(waiting))
            if is_stopped and not running:
                break
            time.sleep(_POLL_SECONDS)
            for training in [each for each in running if each.process.poll() is not None]:
                running.remove(training)
                code = training.process.returncode
                is_stopped = is_stopped or code == STOPPED
                if code not in (0, STOPPED):
                    failed[training.arm.name] = _last_line(training.log)
                    _log.warning("%s: failed: %s", training.arm.name, failed[training.arm.name])
                elif code == 0:
                    _log.info("%s: done", training.arm.name)
    finally:
        for training in running:  # an interrupted sweep leaves no training behind
            training.process.terminate()
        for training in running:
            training.process.wait()
    return failed, is_stopped


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
