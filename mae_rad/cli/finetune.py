r"""Train a head on labelled shards, with a frozen or a trained encoder.

    mae-rad finetune --config foreign_object data.shards=PUBLIC start_from=RUN runtime.run_dir=OUT
    deepspeed launch/finetune.py --config foreign_object data.shards=PUBLIC start_from=RUN \
        runtime.run_dir=OUT

RUN is a pretraining run or an encoder folder. The second command starts a rank per GPU, as ``torchrun`` does. The same
command resumes an interrupted run. OUT/predictor is for ``mae-rad predict``; OUT/evaluation holds the test metrics.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from data_prep.settings import load
from mae_rad.cli.command_parser import SETTINGS
from mae_rad.cli.training_parser import run_training, training_parser

_OUT_OF_MEMORY = (
    "Less is needed with a larger optimizer.accumulation (the same time; a new run), a smaller film.tokens or"
    " task.window, or adaptation.encoder=frozen (another result)"
)


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    return training_parser("finetune", __doc__, SETTINGS["finetune"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit code."""
    return run_training(build_parser(), _train, arguments)


def _train(config: Path, overrides: Sequence[str]) -> str | None:
    from mae_rad.finetuning.task.settings import FinetuneSettings

    settings = load(FinetuneSettings, config, overrides)
    from mae_rad.finetuning.run import finetune  # a wrong setting is reported before DeepSpeed loads
    from mae_rad.training.out_of_memory import explain_out_of_memory

    with explain_out_of_memory(lambda: _OUT_OF_MEMORY):
        return finetune(settings)
