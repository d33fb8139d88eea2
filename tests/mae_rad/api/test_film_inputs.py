"""Films are given as paths or arrays, alone or in a list, and give the vectors of ``mae-rad embed``."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import mae_rad
from data_prep.archive.manifest import read_linkage
from data_prep.sharding.shard import shard
from mae_rad.api.encoder import FilmEncoder
from mae_rad.api.shards import ShardFilm
from mae_rad.cli import embed
from mae_rad.errors import EvaluationError
from mae_rad.objectives import MAESettings
from tests.builders.private_builder import make_private, settings, write_archive
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.small_predictor import write_predictor
from tests.builders.trained_run import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films")
    train(path / "run", MAESettings())
    rows, columns = np.mgrid[:120, :90]
    grey = ((rows * 7 + columns * 3 + rows * columns // 40) % 200 + 40).astype(np.uint8)
    Image.fromarray(grey).save(path / "film.png")
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> FilmEncoder:
    return mae_rad.load_encoder(str(folder / "run"))


def test_the_vectors_are_those_of_the_command(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "archive", patients=2)
    private, public, table = make_private(tmp_path, monkeypatch), tmp_path / "public", tmp_path / "vectors.parquet"
    shard(private, public, settings(max_side=1536))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert embed.main([str(folder / "run"), f"shards={public}", f"out={table}", "workers=0", "processes=1"]) == 0
    embedded = {row["key"]: row["embedding"] for row in pq.read_table(table).to_pylist()}
    paths = dict(zip(*(read_linkage(private)[name].to_pylist() for name in ("key", "path")), strict=True))
    assert len(embedded) > 2
    vectors = mae_rad.load_encoder(folder / "run").embed([paths[key] for key in embedded])
    for vector, expected in zip(vectors, embedded.values(), strict=True):
        np.testing.assert_allclose(vector, np.array(expected, np.float32), rtol=1e-3, atol=2e-3)


def test_paths_texts_and_arrays_may_be_mixed(folder: Path, encoder: FilmEncoder) -> None:
    path = folder / "film.png"
    grey = np.asarray(Image.open(path))
    films = [path, str(path), grey, grey.astype(np.uint16) * 257, grey / 255, (grey / 255).astype(np.float32)]
    vectors = encoder.embed(films)
    assert vectors.shape == (6, 32)
    np.testing.assert_array_equal(vectors[:3], np.repeat(vectors[:1], 3, axis=0))
    np.testing.assert_array_equal(vectors[3:], np.repeat(vectors[3:4], 3, axis=0))
    np.testing.assert_allclose(vectors[3], vectors[0], atol=0.01)  # 16 bits round less than 8 when a film is scaled
    for one in (path, str(path), grey):
        np.testing.assert_array_equal(encoder.embed(one), vectors[:1])
    np.testing.assert_array_equal(encoder.embed(np.stack([grey, grey])), vectors[:2])
    assert not np.allclose(encoder.embed(255 - grey), vectors[0], atol=1e-3)
    assert repr(encoder) == "FilmEncoder(vit_base, T=196, 32 numbers per film)"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 90, 90, 3), np.uint8), "array 1 has 3 axes"),
        (np.zeros((90, 90, 3), np.uint8), "the array has 3 colours"),
        ([np.full((90, 90), 300.0)], r"array 1 holds float64 values .* float in \[0, 1\]"),
        ([np.full((90, 90), np.nan)], "array 1 holds float64 values"),
        ([np.zeros((90, 90), np.int32)], "array 1 holds int32 values"),
        ([None], "array 1 is a NoneType"),
        ([np.zeros((90, 90), np.uint8)], "array 1 holds no film that can be embedded: constant"),
        ([np.tile(np.arange(20, dtype=np.uint8), (20, 1))], "array 1 holds no film .*: too_small"),
    ],
)
def test_an_array_that_is_no_film_is_named(values: object, message: str, encoder: FilmEncoder) -> None:
    with pytest.raises(EvaluationError, match=message):
        encoder.embed(values)


def test_a_predictor_takes_arrays(tmp_path: Path, folder: Path) -> None:
    predictor = mae_rad.load_predictor(str(write_predictor(tmp_path / "model")))
    path = folder / "film.png"
    array, file = predictor.predict([np.asarray(Image.open(path)), str(path)], body_part="HAND", view="PA")
    assert (array.path, array.status) == ("array 1", "answered")
    assert array.findings == file.findings
    (alone,) = predictor.predict(path)
    assert (alone.status, alone.reason) == ("out_of_scope", "body_part_unknown")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_shards_are_loaded_by_workers(start: str, tmp_path: Path) -> None:
    films = [film(f"f{number}", noise(64 + 8 * number, 64, number)) for number in range(4)]
    dataset = mae_rad.open_shards(str(write_public(tmp_path / "public", films)))
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=start)
    for loaded, expected in zip(loader, dataset, strict=True):
        assert isinstance(loaded, ShardFilm)
        assert (loaded.key, loaded.sidecar) == (expected.key, expected.sidecar)
        assert torch.equal(loaded.image, expected.image)
    shuffled = DataLoader(dataset, batch_size=2, shuffle=True, collate_fn=list, generator=torch.Generator())
    assert sorted(one.key for batch in shuffled for one in batch) == sorted(one.key for one in dataset)
