"""Films are loaded from shards by row, in any order, with any number of workers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from mae_rad.data.batch import Batch, ViewSpec
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.errors import SettingsError, ShardFormatError
from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.builders.tiny_run import ROOT, environment

VIEWS = {"film": ViewSpec(tokens=64, visible=0.25, predicted=0.5)}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = [(200, 160), (128, 128), (300, 100), (160, 200)]
    films = [
        film(
            f"film {i}", noise(*shapes[i % 4], seed=i), body_part=["HAND", "KNEE"][i % 2], study=hexed("study", i // 2)
        )
        for i in range(22)
    ]
    films += [film(f"held out {i}", noise(128, 128, seed=50 + i), split="val") for i in range(2)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def _batches(index: ShardIndex, *, workers: int = 0, rank: int = 0, world: int = 1, first: int = 0) -> list[Batch]:
    order = Order(len(index), 7, 8)
    drawn = training_batches(
        index,
        order,
        VIEWS,
        StepRange(first, 5, rank, world, micro=8 // world),
        patch=16,
        workers=workers,
    )
    return [batch for batch, _ in drawn]


def _equal(first: Batch, second: Batch) -> bool:
    a, b = first.views["film"], second.views["film"]
    assert a.predicted is not None
    assert b.predicted is not None
    return (
        first.keys == second.keys
        and torch.equal(a.visible.values.int(), b.visible.values.int())
        and torch.equal(a.predicted.coords, b.predicted.coords)
    )


def test_only_the_training_split_is_drawn(public: Path) -> None:
    index = ShardIndex([public])
    assert len(index) == 22
    assert len(ShardIndex([public], split="val")) == 2
    keys = {key for batch in _batches(index) for key in batch.keys}
    assert keys <= {hexed("film", f"film {i}") for i in range(22)}


def test_any_number_of_workers_gives_the_same_batches(public: Path) -> None:
    index = ShardIndex([public])
    for alone, helped in zip(_batches(index), _batches(index, workers=2), strict=True):
        assert _equal(alone, helped)


READING = """
import sys, time
from pathlib import Path
from mae_rad.data.batch import ViewSpec
from mae_rad.data.loader import training_batches
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.shard_reader import ShardIndex
index = ShardIndex([Path(sys.argv[1])])
batches = training_batches(
    index, Order(len(index), 7, 8), {"film": ViewSpec(tokens=64, visible=0.25, predicted=0.5)},
    StepRange(0, 10**6, rank=0, world=1, micro=8), patch=16, workers=2,
)
next(batches)
print("reading", flush=True)
time.sleep(120)
"""


@pytest.mark.slow
def test_workers_end_with_a_training_that_is_killed(public: Path) -> None:
    """Deaf to signals, and children of a process that waits for them: nobody else would end them."""
    command = [sys.executable, "-c", READING, str(public)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == "reading\n"
        helpers = psutil.Process(training.pid).children(recursive=True)
        assert len(helpers) >= 3  # two workers, and who starts them
        training.kill()
    _, left = psutil.wait_procs(helpers, timeout=20)
    assert not left


def test_ranks_share_the_global_batch(public: Path) -> None:
    index = ShardIndex([public])
    halves = zip(_batches(index, rank=0, world=2), _batches(index, rank=1, world=2), strict=True)
    for whole, (first, second) in zip(_batches(index), halves, strict=True):
        assert whole.keys == first.keys + second.keys
        seen = torch.cat((first.views["film"].visible.values.int(), second.views["film"].visible.values.int()))
        assert torch.equal(whole.views["film"].visible.values.int(), seen)


def test_starting_at_a_step_gives_what_an_uninterrupted_run_gives(public: Path) -> None:
    index = ShardIndex([public])
    for late, whole in zip(_batches(index, first=3), _batches(index)[3:], strict=True):
        assert _equal(late, whole)


def test_films_of_one_study_share_its_hash(public: Path) -> None:
    index = ShardIndex([public])
    assert index.study(0) == index.study(1) != index.study(2)


def test_where_filters_and_names_unknown_columns(public: Path) -> None:
    assert len(ShardIndex([public], where={"body_part": "KNEE"})) == 11
    assert len(ShardIndex([public], where={"body_part": ["KNEE", "HAND"]})) == 22
    assert len(ShardIndex([public], where={"same_pixels_as": None})) == len(ShardIndex([public]))
    with pytest.raises(SettingsError, match="no column 'bodypart'"):
        ShardIndex([public], where={"bodypart": "KNEE"})
    with pytest.raises(SettingsError, match=r"Change data\.where"):
        ShardIndex([public], where={"body_part": "CHEST"})


def test_weights_multiply_over_columns(public: Path) -> None:
    weights = ShardIndex([public]).weights({"body_part": {"KNEE": 3.0}, "view": {"PA": 2.0}})
    assert weights is not None
    assert sorted(set(weights.tolist())) == [2.0, 6.0]


def test_every_film_is_read_once_for_embedding(public: Path) -> None:
    index = ShardIndex([public], split=None)
    rows: list[int] = []
    for batch, patches in whole_film_batches(index, tokens=64, patch=16, batch=4, workers=0):
        assert patches.values.shape[0] == len(batch) <= 4
        rows += batch
    assert sorted(rows) == list(range(24))


def test_a_damaged_film_is_replaced_and_reported_alike_by_all_workers(public: Path, tmp_path: Path) -> None:
    films = [film(f"f{i}", noise(128, 128, seed=i)) for i in range(16)]
    films[5] = (b"not a film", films[5][1])
    index = ShardIndex([write_public(tmp_path / "damaged", films)])
    order = Order(16, 7, 8)

    def draw(workers: int) -> list[tuple[Batch, tuple[str, ...]]]:
        steps = StepRange(0, 2, rank=0, world=1, micro=8)
        return list(training_batches(index, order, VIEWS, steps, patch=16, workers=workers))

    reported = [reason for _, reasons in draw(0) for reason in reasons]
    assert len(reported) == 1
    assert hexed("film", "f5") in reported[0]
    assert all(len(batch.keys) == 8 for batch, _ in draw(0))
    assert [batch.keys for batch, _ in draw(0)] == [batch.keys for batch, _ in draw(2)]


def test_shards_that_cannot_be_drawn_from_stop_with_a_reason(tmp_path: Path) -> None:
    tiny = write_public(tmp_path / "tiny", [film(f"f{i}", noise(24, 24, seed=i)) for i in range(8)])
    with pytest.raises(ShardFormatError, match="too few patches"):
        _batches(ShardIndex([tiny]))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_film_that_cannot_be_embedded_is_named_by_key(tmp_path: Path, workers: int) -> None:
    films = [film(f"f{i}", noise(64, 64)) for i in range(3)]
    films[1] = (b"not a film", films[1][1])
    index = ShardIndex([write_public(tmp_path / "damaged", films)])
    with pytest.raises(ShardFormatError, match=f"^film {hexed('film', 'f1')} cannot be embedded") as reported:
        list(whole_film_batches(index, tokens=64, patch=16, batch=4, workers=workers))
    assert "\n" not in str(reported.value)


def test_the_order_of_folders_does_not_matter(public: Path, tmp_path: Path) -> None:
    second = write_public(tmp_path / "second", [film(f"more {i}", noise(96, 96, seed=i)) for i in range(3)])
    one, other = ShardIndex([public, second]), ShardIndex([second, public])
    assert one.dataset_sha256 == other.dataset_sha256
    assert [one.key(row) for row in range(25)] == [other.key(row) for row in range(25)]


def test_a_film_that_differs_from_the_index_is_named_by_key(public: Path, tmp_path: Path) -> None:
    broken = write_public(tmp_path / "broken", [film(f"f{i}", noise(64, 64)) for i in range(2)])
    shard = broken / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(FilmUnreadableError, match=hexed("film", "f1")):
        ShardIndex([broken]).film(1)


def test_the_same_folder_twice_is_refused(public: Path) -> None:
    with pytest.raises(ShardFormatError, match="share films"):
        ShardIndex([public, public])


def test_two_folders_read_as_one(public: Path, tmp_path: Path) -> None:
    second = write_public(tmp_path / "second", [film(f"more {i}", noise(96, 96, seed=i)) for i in range(3)])
    index = ShardIndex([public, second])
    assert len(index) == 25
    keys = {index.film(row).sidecar.key for row in range(25)}
    assert hexed("film", "more 2") in keys
    assert index.dataset_sha256 != ShardIndex([public]).dataset_sha256


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    old = write_public(tmp_path / "old", [film("f", noise(64, 64))])
    card = json.loads((old / "dataset.json").read_text())
    (old / "dataset.json").write_text(json.dumps(card | {"format_version": 99}))
    with pytest.raises(ShardFormatError, match="version 99"):
        ShardIndex([old])
    with pytest.raises(ShardFormatError, match="does not exist"):
        ShardIndex([tmp_path / "nowhere"])


def test_a_batch_holds_uint16_display_values(public: Path) -> None:
    batch = _batches(ShardIndex([public]))[0]
    values = batch.views["film"].visible.values
    assert values.dtype == torch.uint16
    assert np.ptp(values.numpy()) > 10_000
