"""Embed every film of shards with a trained encoder.

    mae-rad embed RUN shards=PUBLIC out=embeddings.parquet [tokens=T pool=mean …]

RUN is a run folder or an encoder folder. The table has the columns key and embedding, computed with the tokens, pooling
and precision that the encoder's card states, unless others are given. The same command resumes an interrupted one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.settings import Folders, Settings, load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run
from mae_rad.encoders.pooling_name import FilmPool


class EmbedSettings(Settings):
    """Input, output and options of an embedding."""

    shards: Folders
    """Public folders."""
    out: Path
    """Parquet file to write."""
    tokens: int | None = Field(default=None, ge=1)
    """T, number of patches that the content of a film is scaled to; null takes the value of the encoder's card."""
    pool: FilmPool | None = None
    """Pooling that makes the vector of a film, such as mean, or mean+deviation of blocks 3 6 9 12; null takes the value
    of the encoder's card."""
    precision: Literal["auto", "f32", "bf16"] | None = None
    """Precision of the forward pass; auto is bf16 where this machine is fast at it, else f32; null as above."""
    batch_size: int = Field(default=32, ge=1)
    """Films per forward pass."""
    workers: int = Field(default=2, ge=0)
    """Loader processes per embedding process; 0 loads in the embedding process."""
    processes: int = Field(default=0, ge=0)
    """Embedding processes; 0 is one per GPU, or one without a GPU."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and embed; returns the exit code."""
    parser = command_parser("embed", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, or exported encoder")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings; shards and out are required")
    options = parser.parse_intermixed_args(arguments)

    def action() -> None:
        settings = load(EmbedSettings, None, options.settings)
        from mae_rad.embedding.embed_run import embed_table

        print(f"embeddings: {embed_table(options.run, **settings.model_dump())}")

    return run(action)
