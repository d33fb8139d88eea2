"""Train a head on labelled shards, with or without the encoder under it.

    deepspeed launch/finetune.py --config configs/finetune/foreign_object.yaml data.shards=PUBLIC start_from=RUN \
      runtime.run_dir=OUT

RUN is a pretraining run or an encoder folder. Also under ``torchrun`` and plain ``python``. The same command takes an
interrupted run up again. OUT/predictor answers for new films, OUT/evaluation says how well.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.settings import load
from mae_rad.command_line import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="a file of configs/finetune")
    parser.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)  # the deepspeed launcher adds it
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that go before the file's")
    options = parser.parse_intermixed_args(arguments)

    def action() -> None:
        from mae_rad.finetuning.task.settings import FinetuneSettings  # noqa: PLC0415 - --help without the seconds torch takes

        settings = load(FinetuneSettings, options.config, options.settings)
        from mae_rad.finetuning.run import finetune  # noqa: PLC0415 - a wrong setting is told before DeepSpeed loads

        finetune(settings)

    return run(action)


if __name__ == "__main__":
    sys.exit(main())
