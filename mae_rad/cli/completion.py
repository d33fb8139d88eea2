"""Print the lines that make a shell complete commands, options and names of configs.

eval "$(mae-rad completion bash)"                    in ~/.bashrc, or zsh in ~/.zshrc
mae-rad completion fish > ~/.config/fish/completions/mae-rad.fish
"""

import argparse
from collections.abc import Sequence

from data_prep.cli.command_help import CommandParser
from mae_rad.cli.command_parser import command_parser

SHELLS = ("bash", "zsh", "fish")


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("completion", __doc__)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print the lines; returns the exit code."""
    import argcomplete

    print(argcomplete.shellcode(["mae-rad"], shell=build_parser().parse_args(arguments).shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and end the process."""
    import argcomplete

    argcomplete.autocomplete(parser)
