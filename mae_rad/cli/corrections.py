"""Turn a person's answers about suspects into tables of corrections.

    mae-rad corrections ANSWERS.csv … shards=PUBLIC out=FOLDER

ANSWERS.csv is suspects.csv with the column value filled in, or what suspects.html saved: keep, or what is true of the
film. FOLDER/corrections.csv is for mae-rad scan … facts.corrections=, corrected_labels.csv for mae-rad label …
--adjudication.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from data_prep.folder_url import local_path
from data_prep.settings import load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run

_WORDS = ("body_part", "view")


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("corrections", __doc__, "mae_rad.suspects.corrections:CorrectionsSettings")
    parser.add_argument("answers", nargs="+", metavar="CSV|key=value", help="answers; shards and out are required")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, write the corrections and print what to do next; returns the exit code."""
    options = build_parser().parse_intermixed_args(arguments)

    def action() -> None:
        from data_prep.deidentify.vocabulary import vocabulary
        from mae_rad.suspects.corrections import CorrectionsSettings, write_corrections

        settings = load(CorrectionsSettings, None, [value for value in options.answers if "=" in value])
        paths: list[Path] = [local_path(value) for value in options.answers if "=" not in value]
        words = {name: frozenset(vocabulary(name).spellings.values()) for name in _WORDS}
        print(write_corrections(paths, settings, words))

    return run(action)
