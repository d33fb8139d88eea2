"""Entry point of the command ``mae-rad``."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType

from data_prep.cli.main import main as run_data_prep
from data_prep.cli.parser import add_commands
from mae_rad.command_line import run

COMMANDS = ("pretrain", "finetune", "sweep", "embed", "vector", "compare", "compare-heads", "predict", "export", "cost",
            "bench")  # fmt: skip
"""Commands that are modules of this package; all others are forwarded to ``data_prep``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: command and its arguments (default: ``sys.argv[1:]``).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"mae_rad {version('mae_rad')}")
        return 0
    if words and words[0] in COMMANDS:
        return _run(words[0], words[1:])
    return run_data_prep(words, _parser())


def _run(name: str, words: Sequence[str]) -> int:
    if name != "bench" and find_spec("torch") is None and not {"-h", "--help"} & set(words):
        return run(lambda: import_module("torch"))  # reported before missing arguments are
    return int(_module(name).main(words))


def _module(name: str) -> ModuleType:
    return import_module(f"mae_rad.cli.{name.replace('-', '_')}")


def _parser() -> argparse.ArgumentParser:
    """Build the parser of the commands of ``data_prep``, with the names of the commands of this package for --help."""
    parser = argparse.ArgumentParser(
        prog="mae-rad",
        description="Archives of radiographs → de-identified shards → encoders, their comparison, predictions.",
        epilog="mae-rad COMMAND --help explains a command.",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_commands(commands)
    for name in COMMANDS:
        line = str(_module(name).__doc__).splitlines()[0].rstrip(".")
        commands.add_parser(name, help=line[0].lower() + line[1:], add_help=False).set_defaults(takes_overrides=False)
    return parser
