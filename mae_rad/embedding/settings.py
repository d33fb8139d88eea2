"""Settings of the ``embed`` command."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from data_prep.settings import Folders, Settings
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
