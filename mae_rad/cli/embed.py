"""Embed every film of shards with a trained encoder.

    mae-rad embed RUN shards=PUBLIC out=embeddings.parquet [tokens=T pool=mean …]

RUN is a run folder or an encoder folder. The table has the columns key and embedding, computed with the tokens, pooling
and precision that the encoder's card states, unless others are given. The same command resumes an interrupted one.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from data_prep.settings import load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("embed", __doc__, "mae_rad.embedding.settings:EmbedSettings")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, or exported encoder")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings; shards and out are required")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and embed; returns the exit code."""
    options = build_parser().parse_intermixed_args(arguments)

    def action() -> None:
        from mae_rad.embedding.settings import EmbedSettings

        settings = load(EmbedSettings, None, options.settings)
        from mae_rad.embedding.embed_run import embed_table

        print(f"embeddings: {embed_table(options.run, **settings.model_dump())}")

    return run(action)
