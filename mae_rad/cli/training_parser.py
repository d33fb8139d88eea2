"""The command line of a training."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from mae_rad.cli.command_parser import add_config, command_parser
from mae_rad.command_line import run


def training_parser(name: str, description: str | None, settings: str) -> CommandParser:
    """Build the parser of a training.

    Args:
        name: command name, and the folder of its configs under ``configs``.
        description: text of ``--help``.
        settings: ``module:class`` of its settings.
    """
    parser = command_parser(name, description, settings)
    add_config(parser, name)
    parser.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)  # the deepspeed launcher adds it
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that override the config file")
    return parser


def run_training(
    parser: CommandParser, train: Callable[[Path, Sequence[str]], str | None], arguments: Sequence[str] | None
) -> int:
    """Parse the command line of a training and start it, also as one of several ranks.

    Args:
        parser: built by :func:`training_parser`.
        train: called with the config file and the ``key=value`` settings; its text is printed.
        arguments: command line without the command (default: ``sys.argv[1:]``).

    Returns:
        Exit code of the training.
    """
    options = parser.parse_intermixed_args(arguments)

    def action() -> None:
        if conclusion := train(options.config, options.settings):
            print(conclusion)

    return run(action)
