"""List films whose picture contradicts what is stated of them.

    mae-rad suspects RUN shards=PUBLIC out=FOLDER [fields=[body_part,view,fracture] …]
    mae-rad suspects embeddings.parquet shards=PUBLIC out=FOLDER

RUN is an encoder's run, or a finished finetuning, of which the films of val and test are taken. A probe predicts every
film from those of other patients. FOLDER/suspects.html is to look at and to answer, suspects.csv to fill in; then:
mae-rad corrections
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from data_prep.settings import load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("suspects", __doc__, "mae_rad.suspects.settings:SuspectsSettings")
    parser.add_argument("source", type=Path, metavar="RUN|TABLE", help="run, encoder folder, or table of embeddings")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings; shards and out are required")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, search and print the summary; returns the exit code."""
    options = build_parser().parse_intermixed_args(arguments)

    def action() -> None:
        from mae_rad.suspects.settings import SuspectsSettings

        settings = load(SuspectsSettings, None, options.settings)
        from mae_rad.suspects.find_suspects import PAGE, TABLE, find_suspects

        print(find_suspects(options.source, settings))
        print(f"look: {settings.out / PAGE}; answer there, or in {settings.out / TABLE}; then: mae-rad corrections")

    return run(action)
