"""Rank-N-Contrast: features are ordered as a number of the training films, at the share of labels that is read."""

from pathlib import Path

import pytest
import torch

from data_prep.settings import load
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError
from mae_rad.objectives import Objective
from mae_rad.pretraining.run_pairs import RunPairs
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders import tiny_run
from tests.builders.pairs.small_methods import small_batch, small_method
from tests.builders.shard_builder import film, noise, write_public
from tests.mae_rad.objectives.test_family import trained


@torch.no_grad()
def agreement(objective: Objective) -> float:
    """Correlation of the distances of features and of ages, over pairs of films that were not trained on."""
    batch = small_batch(objective, 40, first=200, seed=99)
    pooled, ages = objective.encoder(batch.views["a"].visible).pooled, batch.meta["a"]["age_years"]
    known = ~ages.isnan()
    distances, differences = torch.pdist(pooled[known]), torch.pdist(ages[known][:, None])
    return torch.corrcoef(torch.stack([distances, differences]))[0, 1].item()


def test_it_learns_the_order_of_the_number() -> None:
    objective = small_method("rank_n_contrast")
    before = agreement(objective)
    lines = trained(objective, 60, 24)
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.1
    assert agreement(objective) > max(0.7, before + 0.2)
    assert lines[0]["known_values"] == pytest.approx(21 / 24)


def test_a_film_without_the_number_changes_nothing() -> None:
    objective = small_method("rank_n_contrast")
    known = small_batch(objective, 8, first=1)
    with_unknown = small_batch(objective, 9, first=1)  # film 9 has no age
    torch.testing.assert_close(objective(with_unknown).loss, objective(known).loss)
    none = {"age_years": torch.full((8,), torch.nan)}
    lost = objective(small_batch(objective, 8, first=1, meta=none))
    lost.loss.backward()
    assert lost.loss == 0 and not any(p.grad is not None and p.grad.any() for p in objective.parameters())


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(90, 80, seed=i), age_years=20 + i) for i in range(20)]
    held_out = [film("v", noise(90, 80, seed=99), split="val", age_years=77)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films + held_out)


def pairs(public: Path, *more: str) -> RunPairs:
    given = "objective={name: rank_n_contrast, tokens: 16}"
    _, path, *words = tiny_run.arguments(public, public / "run", 5, given, *more)
    settings = load(PretrainSettings, Path(path), words)
    return RunPairs(settings, ShardIndex(settings.data.shards, **settings.data.source))


def test_numbers_of_training_films_alone_are_read_at_their_share(public: Path) -> None:
    whole = pairs(public)
    assert sorted(whole.columns["age_years"].tolist()) == list(range(20, 40))
    part = pairs(public, "labels.fraction=0.5")
    values = part.columns["age_years"]
    known = ~values.isnan()
    assert known.sum() == 10 and torch.equal(values[known], whole.columns["age_years"][known])
    assert whole.checksums.keys() == {"column age_years"} and whole.checksums != part.checksums


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("body_part", r"objective\.ranked: 'body_part' holds no numbers\. Choose a column that does"),
        ("kvp", r"the index has no column 'kvp'\. Choose one of"),
        ("study_day", r"objective\.ranked: 0 of 20 training films have a known 'study_day'.* Choose another column"),
        ("label.bone_age", r"no training film has the label 'bone_age'"),
    ],
)
def test_a_column_that_cannot_be_ranked_is_refused(public: Path, column: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        pairs(public, f"objective.ranked={column}")
