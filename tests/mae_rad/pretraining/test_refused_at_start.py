"""What would spoil a pretraining in silence is refused before it begins."""

from pathlib import Path

import pytest

from data_prep.settings import load
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.task import Pretraining
from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.builders.tiny_run import arguments


def _settings(public: Path, *more: str) -> PretrainSettings:
    words = arguments(public, public.parent / "run", 2, *more)
    return load(PretrainSettings, Path(words[1]), words[2:])


@pytest.mark.parametrize("split", ["test", "val", "[train, val]", "null"])
def test_no_other_split_can_be_asked_for(tmp_path: Path, split: str) -> None:
    with pytest.raises(SettingsError, match="takes the train films"):
        _settings(tmp_path / "public", f"data.where={{split: {split}}}")
    assert _settings(tmp_path / "public", "data.where={split: train}").data.where == {"split": "train"}


@pytest.mark.parametrize("words", ["optimizer.betas=[0.9, 1.0]", "optimizer.betas=[-1, 2]", f"seed={2**70}"])
def test_what_torch_refuses_is_named(tmp_path: Path, words: str) -> None:
    with pytest.raises(SettingsError, match=f"setting '{words.split('=', maxsplit=1)[0]}"):
        _settings(tmp_path / "public", words)


def test_folders_that_put_a_patient_into_two_splits_are_not_trained_on(tmp_path: Path) -> None:
    patient = hexed("patient", "both")
    films = [film(f"a{number}", noise(64, 64, seed=number), patient=patient) for number in range(8)]
    first = write_public(tmp_path / "first", films)
    second = write_public(tmp_path / "second", [film("b", noise(64, 64, seed=9), patient=patient, split="test")])
    Pretraining(_settings(first))
    with pytest.raises(EvaluationError, match="1 patients of these shard folders are in more than one split"):
        Pretraining(_settings(first, f"data.shards=[{first}, {second}]"))
