"""Embed the films of shards with the encoder of a run and write ``embeddings.parquet``, for use in other programs."""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from data_prep.folder_url import PublicFolder
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed import EmbeddingSettings, EncoderSource, embed, encoder_identity
from mae_rad.embedding.embeddings_file import read_table_metadata, write_embeddings
from mae_rad.embedding.film_vector import vector_settings
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.precision import fast_precision
from mae_rad.export.encoder_folder import load_encoder, read_card
from mae_rad.export.encoder_with_decoder_folder import encoder_folder


def embed_table(
    run: Path,
    *,
    shards: Sequence[PublicFolder],
    out: Path,
    tokens: int | None,
    pool: str | None,
    precision: Literal["auto", "f32", "bf16"] | None,
    batch_size: int,
    workers: int,
    processes: int,
) -> Path:
    """Write the vectors of every film of ``shards`` to ``out``; a table that has them already is not written again.

    Until the table is complete, vectors are kept in a hidden folder next to it. The metadata of the table state T,
    pooling and precision.

    Args:
        run: run folder or encoder folder.
        shards: public folders.
        out: Parquet file to write.
        tokens: T, patches that the content of a film is scaled to; None is the encoder's own T.
        pool: name of a pooling; None is the film vector of the encoder.
        precision: precision of the forward pass; None is the encoder's own, auto is bf16 if this machine computes it
            fast, else f32.
        batch_size: films per forward pass.
        workers: loader processes per embedding process.
        processes: embedding processes; 0 is one per GPU, or one without a GPU.

    Returns:
        ``out``.

    Raises:
        WeightsError: ``run`` holds no encoder.
        EvaluationError: vectors are not finite, or ``out`` is a file of another kind.
        ShardFormatError: a film cannot be read.
    """
    folder = encoder_folder(run)
    card = read_card(folder)
    index = ShardIndex(shards, split=None, distinct_patients=True, with_copies=True)
    chosen_precision = fast_precision() if precision == "auto" else precision
    vector = vector_settings(card, tokens=tokens, pool=pool, precision=chosen_precision)
    identity, sha256 = encoder_identity(card.encoder), card.weights_sha256
    settings = {name: value for name, value in vector._asdict().items() if name != "scale"}  # the encoder's
    settings |= {"encoder": json.loads(identity)}
    if _is_written(out, sha256, index.dataset_sha256, settings):
        return out
    source = EncoderSource(
        run.resolve().name, sha256, card.encoder.shape.dim, partial(load_encoder_only, folder), identity,
        pools=(vector.pool,), block_dims=card.encoder.block_dims,
    )  # fmt: skip
    cache = out.with_name(f".{out.name}.parts")
    embedding_settings = EmbeddingSettings(
        tokens=vector.tokens, patch=card.encoder.patch, precision=vector.precision, cache=cache,
        batch_size=batch_size, workers=workers, processes=processes, scale=card.encoder.film_scale,
    )  # fmt: skip
    ((store, _),) = embed([source], index, embedding_settings)
    vectors = store.vectors(vector.pool)
    keys = index.table.column("key").to_pylist()
    write_embeddings(
        out, keys, vectors, encoder=source.name, encoder_sha256=sha256, dataset_sha256=index.dataset_sha256,
        settings=settings, joined=index.joined,
    )  # fmt: skip
    shutil.rmtree(cache)
    return out


def _is_written(out: Path, encoder_sha256: str, dataset_sha256: str, settings: dict[str, Any]) -> bool:
    """Whether the table holds these vectors already."""
    metadata = read_table_metadata(out)
    written = metadata.get("encoder_sha256"), metadata.get("dataset_sha256"), json.loads(metadata.get("settings", "{}"))
    return written == (encoder_sha256, dataset_sha256, settings)


def load_encoder_only(folder: Path) -> Encoder:
    """Load the encoder of an encoder folder, without its model card."""
    return load_encoder(folder)[0]
