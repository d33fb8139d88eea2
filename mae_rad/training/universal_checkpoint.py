"""Convert partitioned checkpoints (ZeRO 1 to 3) for another number of ranks, by DeepSpeed's universal checkpoint.

The converter forks, so it runs in a separate process without the threads of the collectives. It needs disk space for a
second copy of the checkpoint, which is deleted after loading.
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

_RANK_VARIABLES = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}

_log = logging.getLogger(__name__)


def convert_checkpoint(partitioned: Path, universal: Path, ranks: Ranks) -> None:
    """Convert a checkpoint; a collective call that returns on all ranks when the result is complete.

    Args:
        partitioned: folder of the checkpoint.
        universal: folder to write.
        ranks: rank of this process and number of ranks.

    Raises:
        RunError: it cannot be converted.
    """
    converter: subprocess.Popen[str] | None = None

    def start() -> None:
        nonlocal converter
        _log.info("converting checkpoint %s for another number of ranks", partitioned.name)
        shutil.rmtree(universal.parent, ignore_errors=True)
        universal.mkdir(parents=True)
        converter = _start(partitioned, universal)

    def has_ended() -> bool:
        if converter is None or converter.poll() is None:
            return False
        if converter.returncode:
            errors = (converter.stderr.read() if converter.stderr else "").strip().splitlines()
            raise RunError(
                f"{partitioned} cannot be converted for other ranks ({errors[-1] if errors else 'no reason given'})."
                " Resume with the number of ranks and runtime.zero_stage that it was saved with."
            )
        return True

    on_first_rank(ranks, start)
    while not on_first_rank(ranks, has_ended):  # many short operations, each within the time-out
        time.sleep(0.5)


def _start(partitioned: Path, universal: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    command += ["--input_folder", str(partitioned), "--output_folder", str(universal)]
    environment = {name: value for name, value in os.environ.items() if name not in _RANK_VARIABLES}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
