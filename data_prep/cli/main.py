"""Entry point of ``python -m data_prep``: parse, run, and one line for an error."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from data_prep.cli.commands import is_override
from data_prep.cli.exit_codes import BAD_INPUT, INTERRUPTED, UNFORESEEN
from data_prep.cli.parser import build_parser
from data_prep.errors import DEBUG, UserError, unexpected
from data_prep.runtime.logging_setup import set_up_logging


def main(argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Run one command.

    Args:
        argv: command and its arguments (default: those of the process).
        parser: has the subcommands of :mod:`data_prep.cli.parser` (default: these alone).

    Returns:
        Exit code: 0 done, 1 ``verify`` or ``audit`` found problems or an error that nobody foresaw, 2 a mistake in the
        input (one line on stderr), 3 too many films were rejected, 130 interrupted.
    """
    set_up_logging()
    parser = parser or build_parser()
    args, rest = parser.parse_known_args(argv)
    args.overrides = [word for word in rest if args.takes_overrides and is_override(word)]
    if wrong := [word for word in rest if word not in args.overrides]:
        parser.error(f"{args.command}: unknown argument {wrong[0]!r}; see: {parser.prog} {args.command} --help")
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command continues or starts again", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        print(f"error: {unexpected(error)}", file=sys.stderr)
        return UNFORESEEN
