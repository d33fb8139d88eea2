"""Embed every film of shards with an exported encoder.

    mae-rad embed RUN shards=PUBLIC out=embeddings.parquet [tokens=T pool=mean …]

RUN is a run folder or an encoder folder. The table has the columns key and embedding: the encoder's own vectors, at the
T and with the pooling and precision that its card states, unless others are given. The same command continues where an
interrupted one was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.settings import Folders, Settings, load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


class EmbedSettings(Settings):
    """What is embedded, and how."""

    shards: Folders
    out: Path
    tokens: int | None = Field(default=None, ge=1)
    """T, patches that the content of a film is scaled to; null is the encoder's own, as for the next two."""
    pool: Literal["mean", "cls", "cls_mean"] | None = None
    """The vector of a film."""
    precision: Literal["auto", "f32", "bf16"] | None = None
    """Of the forward pass; auto is bf16 where this machine is fast at it, else f32."""
    batch_size: int = Field(default=32, ge=1)
    workers: int = Field(default=2, ge=0)
    processes: int = Field(default=0, ge=0)
    """Embedding processes; 0 is one per GPU, or one without."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and embed; returns the exit code."""
    parser = command_parser("embed", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, or an exported encoder")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="shards and out are required")
    options = parser.parse_intermixed_args(arguments)

    def action() -> None:
        settings = load(EmbedSettings, None, options.settings)
        from mae_rad.embedding.embed_run import embed_table

        print(f"embeddings: {embed_table(options.run, **settings.model_dump())}")

    return run(action)
