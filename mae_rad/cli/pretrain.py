"""Pretrain an encoder on shards.

    mae-rad pretrain --config mae data.shards=PUBLIC runtime.run_dir=RUN
    deepspeed launch/pretrain.py --config mae data.shards=PUBLIC runtime.run_dir=RUN

The second command starts a rank per GPU, as ``torchrun`` does. The same command resumes an interrupted run.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from data_prep.settings import load
from mae_rad.cli.command_parser import SETTINGS
from mae_rad.cli.training_parser import run_training, training_parser


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    return training_parser("pretrain", __doc__, SETTINGS["pretrain"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit code."""
    return run_training(build_parser(), _train, arguments)


def _train(config: Path, overrides: Sequence[str]) -> str | None:
    from mae_rad.pretraining.settings import PretrainSettings

    settings = load(PretrainSettings, config, overrides)
    from mae_rad.cost.memory_advice import out_of_memory_text
    from mae_rad.pretraining.run import pretrain  # a wrong setting is reported before DeepSpeed loads
    from mae_rad.training.out_of_memory import explain_out_of_memory

    with explain_out_of_memory(lambda: out_of_memory_text(settings)):
        return pretrain(settings)
