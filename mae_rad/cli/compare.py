"""Compare the frozen encoders of pretraining runs.

    mae-rad compare [RUN …] [--config default] [key=value …]

RUN is a run folder or an exported encoder; the name of the folder names the encoder in table and figures. Runs can also
stand in the config, with foreign vectors beside them.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.settings import config_file, load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, compare and print the table; returns the exit code."""
    parser = command_parser("compare", __doc__)
    parser.add_argument("words", nargs="*", metavar="RUN|key=value", help="run folders, and settings of the config")
    parser.add_argument(
        "--config", type=config_file("compare"), default="default", metavar="NAME|FILE",
        help="YAML, as in configs/compare (default: default)",
    )  # fmt: skip
    options = parser.parse_intermixed_args(arguments)
    overrides = [word for word in options.words if "=" in word]
    runs = [Path(word) for word in options.words if "=" not in word]

    def action() -> None:
        from mae_rad.evaluation.comparison.settings import CompareSettings

        settings = load(CompareSettings, options.config, overrides)
        from mae_rad.evaluation.compare_runs import compare_runs

        print(compare_runs(runs, settings))

    return run(action)
