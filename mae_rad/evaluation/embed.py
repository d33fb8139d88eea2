"""Encoder × shards → embeddings.parquet: the whole film, one path for every encoder."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data_prep.progress import Progress
from mae_rad.data.loader import whole_film_batches
from mae_rad.data.shards import ShardIndex
from mae_rad.encoders.vit import ViT
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.embeddings import write_embeddings


@torch.no_grad()
def embed(
    encoder: ViT,
    *,
    name: str,
    encoder_sha256: str,
    shards: Sequence[Path],
    out: Path,
    tokens: int,
    pool: str,
    batch_size: int,
    workers: int,
) -> Path:
    """Embed every film of ``shards`` (all splits) at ``tokens`` content patches.

    Returns ``out`` at once where it already holds the embeddings of this encoder, shards and settings.

    Args:
        encoder: its weights are what ``encoder_sha256`` stands for.
        name: shown in tables and figures.
        shards: public folders.
        out: Parquet file, written atomically.
        tokens: T.
        pool: "mean" over the patch tokens or "cls".
        batch_size: films per forward pass; does not change the numbers beyond rounding.
        workers: loader processes.
    """
    index = ShardIndex(shards, split=None)
    settings = {"tokens": tokens, "pool": pool, "patch": encoder.patch}
    if _is_done(out, encoder_sha256, index.dataset_sha256, settings):
        return out
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device).eval()
    matrix = np.empty((len(index), encoder.dim), dtype=np.float32)
    progress = Progress(f"embed {name}", "films", len(index))
    batches = whole_film_batches(index, tokens=tokens, patch=encoder.patch, batch=batch_size, workers=workers)
    for rows, patches in batches:
        with torch.autocast(device.type, torch.bfloat16):
            features = encoder(patches.to(device))
        pooled = features.tokens.float().mean(dim=1) if pool == "mean" else features.cls.float()
        matrix[rows] = pooled.cpu().numpy()
        progress.add(len(rows))
    progress.close()
    write_embeddings(
        out,
        [index.key(row) for row in range(len(index))],
        matrix,
        encoder=name,
        encoder_sha256=encoder_sha256,
        dataset_sha256=index.dataset_sha256,
        settings=settings,
    )
    return out


def _is_done(out: Path, encoder_sha256: str, dataset_sha256: str, settings: dict[str, object]) -> bool:
    if not out.exists():
        return False
    try:
        written = pq.read_schema(out).metadata or {}
    except (OSError, pa.ArrowInvalid):
        raise EvaluationError(f"{out} is there and is no table of embeddings; give another out") from None
    return (
        written.get(b"encoder_sha256") == encoder_sha256.encode()
        and written.get(b"dataset_sha256") == dataset_sha256.encode()
        and json.loads(written.get(b"settings", b"{}")) == settings
    )
