"""A card from elsewhere is refused in a moment: more than any network has, no plain file, too deep, too large."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.embed import main as embed
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_folder import load_encoder, save_encoder
from mae_rad.export.predictor_folder import load_predictor
from tests.builders.small_predictor import write_predictor

TINY = EncoderSettings(model="vit_tiny", dim=8, depth=1, heads=1)
MOST_SECONDS = 30


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    save_encoder(build_encoder(TINY), TINY, tmp_path / "encoder", tokens=196, provenance={})
    return tmp_path / "encoder"


def _changed(card: Path, group: str, **values: Any) -> None:
    content = json.loads(card.read_text())
    content[group] |= values
    card.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change", [{"depth": 10**7}, {"dim": 4 * 10**8}, {"heads": 10**9}, {"depth": 256, "dim": 2**14}, {"depth": 200}]
)
def test_more_than_the_weights_have_is_refused(encoder: Path, change: dict[str, int]) -> None:
    _changed(encoder / "encoder.json", "encoder", **change)
    with pytest.raises(WeightsError):
        load_encoder(encoder)


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors"])
def test_a_pipe_in_the_place_of_a_file_is_refused(encoder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (encoder / name).unlink()
    os.mkfifo(encoder / name)
    with pytest.raises(WeightsError):
        load_encoder(encoder)
    assert embed([str(encoder), f"shards={encoder}", f"out={encoder.parent / 'e.parquet'}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, " " * 2**20 * 400, "{}", "null"])
def test_a_card_that_is_none_is_refused(encoder: Path, text: str) -> None:
    (encoder / "encoder.json").write_text(text)
    with pytest.raises(WeightsError):
        load_encoder(encoder)


def test_the_card_of_a_predictor_has_the_same_bounds(tmp_path: Path) -> None:
    folder = write_predictor(tmp_path / "predictor")
    card = folder / "predictor.json"
    before = card.read_text()
    for change in ({"depth": 10**7}, {"dim": 4 * 10**8}):
        _changed(card, "encoder", **change)
        with pytest.raises(WeightsError):
            load_predictor(folder)
        card.write_text(before)
    card.unlink()
    os.mkfifo(card)
    with pytest.raises(WeightsError):
        load_predictor(folder)
