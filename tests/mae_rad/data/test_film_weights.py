"""Weights that choose nothing, or one film for ever, are refused."""

import numpy as np
import pytest

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError
from tests.builders.shard_builder import film, noise, write_public


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    films = [film(f"f{number}", noise(64, 64), body_part=["HAND", "CHEST"][number % 2]) for number in range(4)]
    return ShardIndex([write_public(tmp_path_factory.mktemp("shards") / "public", films)])


@pytest.mark.parametrize("value", ["NOSUCH", "hand"])
def test_a_value_that_no_film_has_is_refused_with_those_it_has(index: ShardIndex, value: str) -> None:
    with pytest.raises(SettingsError, match=f"no film has body_part = {value}. Films have CHEST, HAND"):
        index.weights({"body_part": {value: 5.0}})


@pytest.mark.parametrize("weight", [float("inf"), float("nan"), -1.0])
def test_a_weight_that_is_no_frequency_is_refused(index: ShardIndex, weight: float) -> None:
    with pytest.raises(SettingsError, match="negative, infinite or all zero"):
        index.weights({"body_part": {"HAND": weight}})


def test_weights_of_values_that_films_have_are_taken(index: ShardIndex) -> None:
    weights = index.weights({"body_part": {"HAND": 3.0}})
    assert weights is not None
    assert sorted(np.unique(weights)) == [1.0, 3.0]
