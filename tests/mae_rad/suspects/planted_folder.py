"""A public folder and vectors that know what films show, with statements that were exchanged."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embeddings_file import write_embeddings
from tests.builders.shard_builder import film, noise, write_public

PARTS = ("ANKLE", "HAND", "KNEE")


class Planted(NamedTuple):
    """Folder, table of vectors, and key → true body part of the films whose statement was exchanged."""

    public: Path
    table: Path
    wrong: dict[str, str]


def write_planted(folder: Path, films: int = 90, wrong: int = 4) -> Planted:
    """Two films per patient; two of 30 regions of one film each are rare, one film has none."""
    random = np.random.default_rng(0)
    names, stated, true = [], [], []
    for place in range(films):
        true.append(PARTS[place // 2 % 3])
        stated.append(PARTS[(place // 2 + 1) % 3] if place % 2 == 0 and place < 2 * wrong else true[-1])
        names.append(f"f{place}")
    stated[-1], stated[-2] = None, "SKULL"  # type: ignore[call-overload]
    made = [
        film(
            name, noise(40, 32, seed=place), body_part=part, patient=f"{place // 2:032x}",
            age_years=90 * place // films, split=("train", "val", "test")[place // 2 % 3],
        )
        for place, (name, part) in enumerate(zip(names, stated, strict=True))
    ]  # fmt: skip
    public = write_public(folder / "public", made, per_shard=90)
    index = ShardIndex([public], split=None, with_copies=True)
    keys = [sidecar["key"] for _, sidecar in made]
    place_of = {key: place for place, key in enumerate(keys)}
    order = [place_of[index.key(row)] for row in range(len(index))]
    shown = np.array([PARTS.index(true[place]) for place in order])
    ages = np.array(order)[:, None] / films
    matrix = np.hstack([random.normal(size=(films, 8)) * 0.3 + 3 * np.eye(3, 8)[shown], ages])
    table = folder / "vectors.parquet"
    write_embeddings(
        table, [index.key(row) for row in range(films)], matrix.astype(np.float32), encoder="planted",
        encoder_sha256="0", dataset_sha256=index.dataset_sha256, settings={},
    )  # fmt: skip
    return Planted(public, table, {keys[place]: true[place] for place in range(0, 2 * wrong, 2)})
