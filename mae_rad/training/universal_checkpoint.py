"""Partitioned checkpoints (ZeRO 1 to 3) for another number of ranks, by DeepSpeed's universal checkpoint.

The converter runs in a process of its own: it forks, and this one holds the threads of the collectives. It needs room
for a second copy of the checkpoint, which is deleted once it is loaded.
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mae_rad.errors import RunError
from mae_rad.training.deepspeed_engine import Ranks, on_first_rank

_OF_A_RANK = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}

_log = logging.getLogger(__name__)


def convert_checkpoint(partitioned: Path, universal: Path, ranks: Ranks) -> None:
    """Write ``universal`` from ``partitioned``; a collective call that returns on all ranks when it is complete.

    Raises:
        RunError: it cannot be converted.
    """
    converter: subprocess.Popen[str] | None = None

    def begin() -> None:
        nonlocal converter
        _log.info("checkpoint %s is converted for other ranks", partitioned.name)
        shutil.rmtree(universal.parent, ignore_errors=True)
        universal.mkdir(parents=True)
        converter = _start(partitioned, universal)

    def ended() -> bool:
        if converter is None or converter.poll() is None:
            return False
        if converter.returncode:
            errors = (converter.stderr.read() if converter.stderr else "").strip().splitlines()
            raise RunError(
                f"{partitioned} cannot be converted for other ranks ({errors[-1] if errors else 'no reason given'});"
                " go on with the ranks and the stage that it was saved with"
            )
        return True

    on_first_rank(ranks, begin)
    while not on_first_rank(ranks, ended):  # many short exchanges: none of them may pass the time-out
        time.sleep(0.5)


def _start(partitioned: Path, universal: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    command += ["--input_folder", str(partitioned), "--output_folder", str(universal)]
    alone = {name: value for name, value in os.environ.items() if name not in _OF_A_RANK}
    return subprocess.Popen(command, env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
