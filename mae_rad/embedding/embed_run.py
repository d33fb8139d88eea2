"""A run × shards → ``embeddings.parquet``, for use elsewhere."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed import Embedding, Source, embed, seen_as
from mae_rad.embedding.embeddings_file import embeddings_of, write_embeddings
from mae_rad.embedding.film_vector import vector_settings
from mae_rad.encoders.film_pooling import FilmPool
from mae_rad.encoders.precision import fast_precision
from mae_rad.encoders.vit import ViT
from mae_rad.export.encoder_folder import load_encoder, read_card
from mae_rad.export.encoder_with_decoder_folder import encoder_folder


def embed_table(
    run: Path,
    *,
    shards: Sequence[Path],
    out: Path,
    tokens: int | None,
    pool: FilmPool | None,
    precision: Literal["auto", "f32", "bf16"] | None,
    batch_size: int,
    workers: int,
    processes: int,
) -> Path:
    """Write the vectors of every film of ``shards`` to ``out``; returns it at once where it holds them already.

    What is done lies in a folder beside ``out`` until all of it is. The metadata of ``out`` state T, pooling and
    precision as they were used.

    Args:
        run: run folder or encoder folder.
        shards: public folders.
        out: Parquet file.
        tokens: T; None takes the encoder's own, as for the next two.
        pool: which vector.
        precision: of the forward pass; auto is bf16 where this machine is fast at it, else f32.
        batch_size: films per forward pass.
        workers: loader processes, per embedding process.
        processes: embedding processes; 0 is one per GPU, or one without.

    Raises:
        WeightsError: ``run`` holds no encoder.
        EvaluationError: vectors are not finite, or ``out`` is another kind of file.
        ShardFormatError: a film cannot be read.
    """
    folder = encoder_folder(run)
    card = read_card(folder)
    index = ShardIndex(shards, split=None)
    given = fast_precision() if precision == "auto" else precision
    vector = vector_settings(card, tokens=tokens, pool=pool, precision=given)
    how = Embedding(
        tokens=vector.tokens,
        patch=card.encoder.patch,
        precision=vector.precision,
        cache=out.with_name(f".{out.name}.parts"),
        batch_size=batch_size,
        workers=workers,
        processes=processes,
    )
    seen = seen_as(card.encoder)
    settings = vector._asdict() | {"encoder": json.loads(seen)}
    told = embeddings_of(out)
    source = Source(
        run.resolve().name, card.weights_sha256, card.encoder.shape.dim, partial(only_encoder, folder), seen
    )
    written = told.get("encoder_sha256"), told.get("dataset_sha256"), json.loads(told.get("settings", "{}"))
    if written == (source.sha256, index.dataset_sha256, settings):
        return out
    ((store, _),) = embed([source], index, how)
    write_embeddings(
        out,
        index.table.column("key").to_pylist(),
        store.vectors(vector.pool),
        encoder=source.name,
        encoder_sha256=source.sha256,
        dataset_sha256=index.dataset_sha256,
        settings=settings,
    )
    shutil.rmtree(how.cache)
    return out


def only_encoder(folder: Path) -> ViT:
    """The encoder of an encoder folder."""
    return load_encoder(folder)[0]
