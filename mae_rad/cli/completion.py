"""Print the lines that make a shell complete commands, options and names of configs.

eval "$(mae-rad completion bash)"                    in ~/.bashrc, or zsh in ~/.zshrc
mae-rad completion fish > ~/.config/fish/completions/mae-rad.fish
"""

import argparse
from collections.abc import Sequence

from data_prep.cli.command_help import CommandParser
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run

SHELLS = ("bash", "zsh", "fish")


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("completion", __doc__)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print the lines; returns the exit code."""
    options = build_parser().parse_args(arguments)

    def action() -> None:
        import argcomplete

        print(argcomplete.shellcode(["mae-rad"], shell=options.shell))

    return run(action)


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and end the process."""
    import argcomplete

    argcomplete.autocomplete(parser)
