"""Entry point of the command ``mae-rad``."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType

from data_prep.cli.command_help import CommandParser
from data_prep.cli.main import main as run_data_prep
from data_prep.cli.parser import add_commands
from mae_rad.command_line import run

WITHOUT_TORCH = ("corrections", "bench", "schema", "completion")
COMMANDS = ("pretrain", "finetune", "sweep", "pairs", "embed", "vector", "compare", "compare-heads", "suspects",
            "predict", "export", "cost", *WITHOUT_TORCH)  # fmt: skip
"""Commands that are modules of this package; all others are forwarded to ``data_prep``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: command and its arguments (default: ``sys.argv[1:]``).
    """
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could follow
        _module("completion").complete(_parser(with_arguments=True))
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        return _run(words[0], words[1:])
    return run_data_prep(words, _parser())


def _run(name: str, words: Sequence[str]) -> int:
    if name not in WITHOUT_TORCH and find_spec("torch") is None and not {"-h", "--help"} & set(words):
        return run(lambda: import_module("torch"))  # reported before missing arguments are
    return int(_module(name).main(words))


def _module(name: str) -> ModuleType:
    return import_module(f"mae_rad.cli.{name.replace('-', '_')}")


def _parser(*, with_arguments: bool = False) -> CommandParser:
    """Parser of the commands of ``data_prep``, and of the names, or all arguments, of those of this package."""
    parser = CommandParser(prog="mae-rad", description=sys.modules["mae_rad"].__doc__,
                           epilog="mae-rad COMMAND --help explains a command.")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"mae_rad {version('mae_rad')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_commands(commands)
    for name in COMMANDS:
        line = str(_module(name).__doc__).splitlines()[0].rstrip(".")
        parents = [_module(name).build_parser()] if with_arguments else []
        command = commands.add_parser(name, help=line[0].lower() + line[1:], add_help=False, parents=parents)
        command.set_defaults(takes_overrides=False)
    return parser
