"""The argument parser of a command, and the command line of a training."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from data_prep.settings import config_file, local_argument
from mae_rad.command_line import run


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Build the parser of ``mae-rad name``.

    Args:
        name: command name, as in ``compare-heads``.
        description: text of ``--help``, printed without reflowing.
    """
    parser = argparse.ArgumentParser(
        prog=f"mae-rad {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)  # a URL would become a local folder called s3:
    return parser


def run_training(
    name: str,
    description: str | None,
    train: Callable[[Path, Sequence[str]], object],
    arguments: Sequence[str] | None,
) -> int:
    """Parse the command line of a training and start it, also as one of several ranks.

    Args:
        name: command name, and the folder of its configs under ``configs``.
        description: text of ``--help``.
        train: called with the config file and the ``key=value`` settings.
        arguments: command line without the command (default: ``sys.argv[1:]``).

    Returns:
        Exit code of the training.
    """
    parser = command_parser(name, description)
    parser.add_argument(
        "--config",
        type=config_file(name),
        required=True,
        metavar="NAME|FILE",
        help=f"YAML settings: a name or a file as in configs/{name}",
    )
    parser.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)  # the deepspeed launcher adds it
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that override the config file")
    options = parser.parse_intermixed_args(arguments)
    return run(lambda: train(options.config, options.settings))
