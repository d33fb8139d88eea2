"""Compare the frozen encoders of pretraining runs.

    mae-rad compare [RUN …] [--config default] [key=value …]

RUN is a run folder or an exported encoder; the folder name is the encoder's name in table and figures. Runs can also be
listed in the config, together with embeddings of other software.
"""

from collections.abc import Sequence

from data_prep.cli.command_help import CommandParser
from data_prep.folder_url import local_path
from data_prep.settings import load
from mae_rad.cli.command_parser import SETTINGS, add_config, command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("compare", __doc__, SETTINGS["compare"])
    parser.add_argument(
        "inputs", nargs="*", metavar="RUN|key=value", help="run folders, and settings that override the config"
    )
    add_config(parser, "compare", default="default")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, compare and print the table; returns the exit code."""
    options = build_parser().parse_intermixed_args(arguments)
    overrides = [value for value in options.inputs if "=" in value]

    def action() -> None:
        runs = [local_path(value) for value in options.inputs if "=" not in value]
        from mae_rad.evaluation.comparison.settings import CompareSettings

        settings = load(CompareSettings, options.config, overrides)
        from mae_rad.evaluation.compare_runs import compare_runs

        print(compare_runs(runs, settings))

    return run(action)
