"""Pretrain an encoder on shards.

    mae-rad pretrain --config mae data.shards=PUBLIC runtime.run_dir=RUN
    deepspeed launch/pretrain.py --config configs/pretrain/mae.yaml data.shards=PUBLIC runtime.run_dir=RUN

The second command starts a rank per GPU, as ``torchrun`` does. The same command resumes an interrupted run.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.settings import load
from mae_rad.cli.command_parser import run_training


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit code."""
    return run_training("pretrain", __doc__, _train, arguments)


def _train(config: Path, overrides: Sequence[str]) -> None:
    from mae_rad.pretraining.settings import PretrainSettings

    settings = load(PretrainSettings, config, overrides)
    from mae_rad.pretraining.run import pretrain  # a wrong setting is reported before DeepSpeed loads

    pretrain(settings)
