"""Run folders → embeddings of the encoders that are compared, and of randomly initialised ones as the floor."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save

from mae_rad.encoders.vit import EncoderSettings, ViT, build_encoder
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.embed import embed
from mae_rad.evaluation.embeddings import Embeddings, read_embeddings
from mae_rad.evaluation.rows import FLOOR
from mae_rad.evaluation.settings import CompareSettings
from mae_rad.export.card import EncoderCard
from mae_rad.export.encoder import load_encoder


class Arms(NamedTuple):
    """What is compared.

    Attributes:
        trained: embeddings of the trained encoders, in the order given.
        floors: embeddings of randomly initialised encoders, of the shape of the first trained one.
        about: one line on each trained encoder.
    """

    trained: list[Embeddings]
    floors: list[Embeddings]
    about: list[str]


def embed_arms(runs: Sequence[Path], settings: CompareSettings, dataset_sha256: str) -> Arms:
    """Embed the films of ``settings.shards`` with every encoder, once: tables in ``settings.out`` are used again.

    Args:
        runs: run folders or encoder folders; the name of the folder is the name of the encoder.
        settings: shards, size, pooling, seeds of the floor.
        dataset_sha256: of the shards.

    Raises:
        EvaluationError: no run, or two of one name.
        WeightsError: a folder holds no encoder, or a damaged one.
    """
    names = [run.resolve().name for run in runs]
    if not runs or len(set(names)) < len(names) or set(names) & {FLOOR, *_floor_names(settings)}:
        raise EvaluationError("give run folders with different names: the names tell the encoders apart in the report")
    loaded = [load_encoder(run / "encoder" if (run / "encoder").is_dir() else run) for run in runs]
    trained = [
        _embed(encoder, card.weights_sha256, name, settings, dataset_sha256)
        for (encoder, card), name in zip(loaded, names, strict=True)
    ]
    floors = []
    for seed, name in zip(settings.floor_seeds, _floor_names(settings), strict=True):
        untrained = _untrained(loaded[0][1].encoder, seed)
        sha256 = hashlib.sha256(save(untrained.state_dict())).hexdigest()
        floors.append(_embed(untrained, sha256, name, settings, dataset_sha256))
    shape = loaded[0][1].encoder
    about = [_about(name, card, shape, dataset_sha256) for (_, card), name in zip(loaded, names, strict=True)]
    return Arms(trained, floors, about)


def _about(name: str, card: EncoderCard, floor: EncoderSettings, dataset_sha256: str) -> str:
    known = card.provenance
    parts = [f"{card.encoder.model}, {card.parameters / 1e6:.1f} million parameters"]
    parts += [f"{key.replace('_', ' ')} {known[key]}" for key in ("objective", "steps", "films_seen") if key in known]
    if (card.encoder.shape, card.encoder.patch) != (floor.shape, floor.patch):
        parts.append("of another size or patch than the random floor")
    if known.get("dataset_sha256") != dataset_sha256:
        parts.append("pretrained on other shards, so it may have seen films of the test patients")
    return f"{name}: {', '.join(parts)}"


def _embed(encoder: ViT, sha256: str, name: str, settings: CompareSettings, dataset_sha256: str) -> Embeddings:
    path = embed(
        encoder,
        name=name,
        encoder_sha256=sha256,
        shards=settings.shards,
        out=settings.out / "embeddings" / f"{name.replace(' ', '-')}.parquet",
        tokens=settings.tokens,
        pool=settings.pool,
        batch_size=settings.runtime.batch_size,
        workers=settings.runtime.workers,
    )
    return read_embeddings(path, dataset_sha256)


def _untrained(shape: EncoderSettings, seed: int) -> ViT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_encoder(shape)


def _floor_names(settings: CompareSettings) -> list[str]:
    if len(settings.floor_seeds) == 1:
        return [FLOOR]
    return [f"{FLOOR} {seed}" for seed in settings.floor_seeds]
