"""A film of val or test whose pixels an encoder was trained on is found, in any folder and through any descent."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.training.films_trained_on import copies_of_trained_films, pixels_trained_on
from tests.builders.film_tables import film, hexed, write_public, write_run


def _public(folder: Path, films: Sequence[tuple[object, str]], pixels: dict[object, object]) -> Path:
    """Films by (name, split), of a patient each; ``pixels``: name → name of the film whose pixels it has."""
    rows = [film(name, name, split, pixel_sha256=2 * hexed("pixels", pixels.get(name, name))) for name, split in films]
    return write_public(folder, rows)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with five films of train and one of test."""
    return _public(tmp_path / "trained", [*((n, "train") for n in range(5)), ("t", "test")], {})


@pytest.fixture
def scored(tmp_path: Path) -> ShardIndex:
    """Films with the pixels of the trained 0, 1 and 2, of the trained test film, and others."""
    films = [("a", "test"), ("b", "val"), ("c", "train"), ("d", "test"), ("e", "test")]
    return ShardIndex(
        [_public(tmp_path / "scored", films, {"a": 0, "b": 1, "c": 2, "d": "t"})], split=None, with_copies=True
    )


def _found(index: ShardIndex, run: Path) -> list[str]:
    names = {hexed("film", name): name for name in "abcde"}
    return [names[key] for key in np.array(index.table["key"].to_pylist())[copies_of_trained_films(index.table, run)]]


def test_copies_are_found_in_another_folder(tmp_path: Path, trained: Path, scored: ShardIndex) -> None:
    run = write_run(tmp_path / "run", [trained])
    assert _found(scored, run) == _found(scored, run / "encoder") == ["a", "b"]


def test_only_what_the_settings_chose_counts(tmp_path: Path, trained: Path, scored: ShardIndex) -> None:
    chosen = write_run(tmp_path / "run", [trained], data={"where": {"key": [hexed("film", n) for n in (1, 3)]}})
    assert _found(scored, chosen) == ["b"]


def test_the_films_of_what_it_started_from_count(tmp_path: Path, trained: Path, scored: ShardIndex) -> None:
    other = _public(tmp_path / "other", [("z", "train"), ("y", "test")], {})
    first = write_run(tmp_path / "first", [trained])
    second = write_run(tmp_path / "second", [other], start_from=str(first / "encoder"))
    third = write_run(tmp_path / "third", [other], start_from=str(second))
    assert _found(scored, third) == ["a", "b"] and len(pixels_trained_on(third)) == 6
    loop = write_run(tmp_path / "loop", [other], start_from=str(tmp_path / "loop"))
    assert _found(scored, loop) == []


def test_a_folder_that_has_grown_counts_as_it_was(tmp_path: Path, trained: Path, scored: ShardIndex) -> None:
    run = write_run(tmp_path / "run", [trained])
    added = _public(trained / "generation-001", [("f", "train")], {"f": "e"})
    card = json.loads((added / "dataset.json").read_text())
    card["after"] = json.loads((trained / "dataset.json").read_text())["dataset_sha256"]
    (added / "dataset.json").write_text(json.dumps(card))
    assert len(ShardIndex([trained], split=None)) == 7
    assert _found(scored, run) == ["a", "b"]


@pytest.mark.parametrize("fault", ["no shards", "other shards", "no settings", "damaged", "a list"])
def test_what_is_not_known_is_said_and_no_error(
    tmp_path: Path, trained: Path, scored: ShardIndex, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path / "run", [trained])
    config = run / "config.yaml"
    if fault == "no shards":
        trained.rename(tmp_path / "moved")
    elif fault == "other shards":
        (run / "run.json").write_text(json.dumps({"dataset_sha256": "0" * 64}))
    elif fault == "no settings":
        config.unlink()
    else:
        config.write_text({"damaged": "data: [", "a list": "[1]"}[fault])
    assert _found(scored, run) == []
    assert "The films that the run run was trained on are not known" in caplog.text
