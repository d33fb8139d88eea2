"""Entry point of ``python -m data_prep``: parse the arguments, run the command and print errors as one line."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from data_prep.cli.commands import is_override
from data_prep.cli.exit_codes import BAD_INPUT, INTERRUPTED, UNEXPECTED_ERROR
from data_prep.cli.parser import build_parser
from data_prep.errors import DEBUG, UserError, unexpected
from data_prep.runtime.logging_setup import set_up_logging
from data_prep.runtime.process_limits import forbid_core_dump
from data_prep.runtime.secret_environment import without_secret

_WITH_SECRET = frozenset({"scan"})
"""Commands that read the secret for pseudonyms; the processes of the others do not have it in their environment."""


def main(argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Run one command.

    Args:
        argv: command and its arguments (default: those of the process).
        parser: parser with the subcommands of :mod:`data_prep.cli.parser` and possibly others (default: these alone).

    Returns:
        Exit code, see :mod:`data_prep.cli.exit_codes`.
    """
    set_up_logging()
    parser = parser or build_parser()
    args, remaining = parser.parse_known_args(argv)
    args.overrides = [argument for argument in remaining if args.takes_overrides and is_override(argument)]
    if unknown := [argument for argument in remaining if argument not in args.overrides]:
        parser.error(f"{args.command}: unknown argument {unknown[0]!r}; see: {parser.prog} {args.command} --help")
    run: Callable[[argparse.Namespace], int] = args.run
    forbid_core_dump()
    try:
        with nullcontext() if args.command in _WITH_SECRET else without_secret():
            return run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; run the same command again", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        print(f"error: {unexpected(error)}", file=sys.stderr)
        return UNEXPECTED_ERROR
