"""Embed every film of shards with an exported encoder.

    python launch/embed.py RUN shards=PUBLIC out=embeddings.parquet [tokens=196 pool=mean …]

RUN is a run folder or an encoder folder. The table has the columns key and embedding.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.settings import Folders, Settings, load
from mae_rad.command import run


class EmbedSettings(Settings):
    """What is embedded, and how."""

    shards: Folders
    out: Path
    tokens: int = Field(default=196, ge=1)
    pool: Literal["mean", "cls"] = "mean"
    batch_size: int = Field(default=32, ge=1)
    workers: int = Field(default=2, ge=0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and embed; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, or an exported encoder")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="shards and out are required")
    options = parser.parse_intermixed_args(arguments)

    def action() -> None:
        settings = load(EmbedSettings, None, options.settings)
        from mae_rad.evaluation.embed import embed  # noqa: PLC0415 - --help without torch
        from mae_rad.export.encoder import load_encoder  # noqa: PLC0415

        folder = options.run / "encoder" if (options.run / "encoder").is_dir() else options.run
        encoder, card = load_encoder(folder)
        out = embed(encoder, name=options.run.name, encoder_sha256=card.weights_sha256, **settings.model_dump())
        print(f"embeddings: {out}")

    return run(action)


if __name__ == "__main__":
    sys.exit(main())
