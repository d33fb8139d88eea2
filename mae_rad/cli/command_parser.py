"""What the commands share: a parser that shows the module's docstring, and the whole of a command that trains."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from data_prep.settings import config_file
from mae_rad.command_line import run


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for ``mae-rad name``.

    Args:
        name: of the command.
        description: shown by ``--help`` as it is written.
    """
    return argparse.ArgumentParser(
        prog=f"mae-rad {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run_training(
    name: str,
    description: str | None,
    train: Callable[[Path, Sequence[str]], object],
    arguments: Sequence[str] | None,
) -> int:
    """Parse the command line of a training and start it; also as one of several ranks.

    Args:
        name: of the command, and of the folder of its configs.
        description: shown by ``--help``.
        train: takes the config file and the ``key=value`` words.
        arguments: of the command line (default: those of the process).

    Returns:
        Exit code.
    """
    parser = command_parser(name, description)
    parser.add_argument(
        "--config", type=config_file(name), required=True, metavar="NAME|FILE", help=f"YAML, as in configs/{name}"
    )
    parser.add_argument("--local_rank", type=int, default=0, help=argparse.SUPPRESS)  # the deepspeed launcher adds it
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that replace those of the file")
    options = parser.parse_intermixed_args(arguments)
    return run(lambda: train(options.config, options.settings))
