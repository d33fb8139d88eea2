"""The card of an encoder folder states the film vector, and a choice changes nothing but the card."""

import json
from pathlib import Path

import pytest
import torch

from data_prep.settings import load
from mae_rad.cli import vector as vector_command
from mae_rad.embedding.embed import encoder_identity
from mae_rad.embedding.film_vector import vector_settings
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.chosen_vector import choose_vector
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_folder import CARD, WEIGHTS, load_encoder, read_card, save_encoder
from mae_rad.pretraining.settings import PretrainSettings

SMALL = EncoderSettings(model="vit_tiny", dim=16, depth=2, heads=2, patch=8)
RICH = "mean+deviation of blocks 1 2 and 2 x 2 regions"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_encoder(build_encoder(SMALL), SMALL, tmp_path / "run" / "encoder", tokens=36, provenance={})
    return tmp_path / "run" / "encoder"


def test_a_chosen_vector_is_read_back_and_can_be_taken_back(folder: Path) -> None:
    before, weights = (folder / CARD).read_text(), (folder / WEIGHTS).read_bytes()
    readme = (folder / "README.md").read_text()
    choose_vector(folder, "deviation+mean of blocks 2 1 and 2 x 2 regions")
    encoder, card = load_encoder(folder)
    assert (card.encoder.film_vector, encoder.vector, encoder.pool, card.vector_width) == (RICH, RICH, "mean", 320)
    assert vector_settings(card).pool == RICH
    assert f"{RICH}, 320 numbers" in (folder / "README.md").read_text()
    assert (folder / WEIGHTS).read_bytes() == weights
    choose_vector(folder, "mean")
    assert (folder / CARD).read_text() == before
    assert (folder / "README.md").read_text() == readme
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CARD, WEIGHTS]


def test_a_vector_that_the_encoder_cannot_give_is_refused_and_changes_nothing(folder: Path) -> None:
    before = (folder / CARD).read_text()
    for pool, message in (("mean of block 3", "names block 3 of 2"), ("median", "no part 'median'")):
        with pytest.raises(WeightsError, match=message):
            choose_vector(folder, pool)
    assert (folder / CARD).read_text() == before


def test_the_command_shows_and_writes_the_vector(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vector_command.main([str(folder.parent)]) == 0
    assert capsys.readouterr().out.endswith("encoder: mean, 16 numbers\n")
    assert vector_command.main([str(folder.parent), *RICH.split()]) == 0  # with or without quotes
    assert read_card(folder).encoder.vector == RICH
    assert vector_command.main([str(folder.parent), "mean of block 3"]) == 2
    assert "names block 3 of 2" in capsys.readouterr().err


def test_a_card_from_before_the_vector_was_stated_is_read(folder: Path) -> None:
    values = json.loads((folder / CARD).read_text())
    del values["encoder"]["vector"]
    card = EncoderCard.model_validate(values)
    assert (card.encoder.film_vector, card.vector_width) == ("mean", 16)


def test_the_vector_changes_neither_the_identity_of_a_run_nor_that_of_stored_vectors() -> None:
    words = ["data.shards=[s]", "objective={name: mae}", "optimizer={steps: 9, batch: 2}", "runtime.run_dir=r"]
    plain, rich = (
        load(PretrainSettings, None, [*words, f"encoder={{model: vit_tiny, vector: {vector}}}"])
        for vector in ("null", RICH)
    )
    assert rich.encoder.film_vector == RICH
    assert plain.results() == rich.results()
    assert "vector" not in str(plain.results())
    assert encoder_identity(plain.encoder) == encoder_identity(rich.encoder)
    assert plain.encoder.off == rich.encoder.off | plain.encoder.off


def test_the_vector_of_a_network_of_timm_is_of_its_maps(tmp_path: Path) -> None:
    settings = TimmSettings(timm="test_resnet")
    save_encoder(TimmEncoder(settings), settings, tmp_path / "encoder", tokens=36, provenance={})
    assert choose_vector(tmp_path / "encoder", "mean") == read_card(tmp_path / "encoder")
    card = choose_vector(tmp_path / "encoder", "mean+deviation of blocks 3 5")
    assert card.vector_width == 2 * (48 + 96)
    assert load_encoder(tmp_path / "encoder")[0].vector == "mean+deviation of blocks 3 5"
    with pytest.raises(WeightsError, match="names block 6 of 5"):
        choose_vector(tmp_path / "encoder", "mean of block 6")
