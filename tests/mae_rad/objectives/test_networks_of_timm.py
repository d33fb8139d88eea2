"""Methods of several views train a network of timm: twenty steps of a small ResNet, with batch norm of its own."""

from pathlib import Path

import pytest

from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders import tiny_run
from tests.builders.pairs.small_methods import METHODS
from tests.builders.shard_builder import film, noise, write_public

STEPS = 20
WITHOUT_TIMM = {"mae_contrast"}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(90, 80, seed=i), age_years=20 + i) for i in range(20)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def run_of(name: str, public: Path, folder: Path, *more: str) -> PretrainSettings:
    given = METHODS[name] | {"name": name, "tokens": 16}
    objective = ", ".join(f"{key}: {value}" for key, value in given.items())
    words = ["encoder={timm: resnet10t, patch: 16}", f"objective={{{objective}}}", *more]
    _, path, *words = tiny_run.arguments(public, folder, STEPS, *words)
    return load(PretrainSettings, Path(path), words)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name not in WITHOUT_TIMM])
def test_a_network_of_timm_is_trained(name: str, public: Path, tmp_path: Path) -> None:
    pretrain(run_of(name, public, tmp_path / "run"))
    encoder, card = load_encoder(tmp_path / "run" / "encoder")
    assert card.provenance["objective"] == name and encoder.dim == 512


@pytest.mark.parametrize("name", [name for name in METHODS if name not in WITHOUT_TIMM])
def test_its_batch_norm_refuses_accumulation(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"batch norm of resnet10t needs the whole batch.*accumulation out"):
        run_of(name, tmp_path, tmp_path / "run", "optimizer.accumulation=2")
