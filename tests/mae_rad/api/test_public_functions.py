"""The Python interface gives what the commands give for the same films."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mae_rad
from data_prep.archive.manifest import read_linkage
from data_prep.errors import ArchiveError
from data_prep.shard_format.apply_display import apply_display
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.film_codec import decode_film
from data_prep.sharding.shard import shard
from data_prep.sharding.single_film import PreparationSettings
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import stack, whole_film
from mae_rad.embedding.film_vector import film_features, film_vectors, vector_settings
from mae_rad.errors import EvaluationError, PredictionError, SettingsError
from mae_rad.export.chosen_vector import choose_vector
from mae_rad.export.export_run import export
from mae_rad.objectives import MAESettings
from mae_rad.prediction.predict import predict
from mae_rad.prediction.record import Record
from mae_rad.prediction.settings import PredictSettings
from tests.builders.private_builder import make_private, settings, write_archive
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.small_predictor import write_predictor
from tests.builders.trained_run import train


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films") / "archive"
    write_archive(folder, patients=2)
    return folder


def test_a_public_name_is_loaded_when_it_is_used() -> None:
    script = (
        "import sys, mae_rad; assert 'torch' not in sys.modules; mae_rad.load_encoder; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert all(callable(getattr(mae_rad, name)) for name in mae_rad.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_decoder'"):
        mae_rad.load_decoder  # noqa: B018


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_an_encoder_gives_a_file_the_vector_of_its_film_in_a_shard(
    pool: str, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "run", MAESettings(), pool=pool)
    (tmp_path / "archive").symlink_to(archive)
    private = make_private(tmp_path, monkeypatch)
    shard(private, tmp_path / "public", settings(max_side=1536))
    assert PreparationSettings.of(read_dataset_card(tmp_path / "public").config) == PreparationSettings()
    index, paths = (
        ShardIndex([tmp_path / "public"], split=None),
        dict(zip(*(read_linkage(private)[name].to_pylist() for name in ("key", "path")), strict=True)),
    )
    loaded = mae_rad.load_encoder(tmp_path / "run")
    vectors = loaded.embed([paths[index.key(row)] for row in range(len(index))])
    assert vectors.shape == (len(index), 32)
    assert vectors.dtype == np.float32
    device = next(loaded.encoder.parameters()).device
    for row, vector in enumerate(vectors):
        patches = stack([whole_film(index.film(row), loaded.card.preprocessing.tokens, loaded.encoder.patch)])
        features = film_features(loaded.encoder, patches.to(device), vector_settings(loaded.card).precision)
        expected = features.cls if pool == "cls" else features.tokens.mean(dim=1)
        np.testing.assert_allclose(vector, expected[0].float().cpu(), rtol=1e-4, atol=1e-5)
    assert len(np.unique(vectors, axis=0)) == len(index)
    card = choose_vector(tmp_path / "run" / "encoder", "mean+deviation of block 1 and 2 x 2 regions")
    loaded = mae_rad.load_encoder(tmp_path / "run")
    vectors = loaded.embed([paths[index.key(row)] for row in range(len(index))])
    assert vectors.shape == (len(index), card.vector_width)
    for row, vector in enumerate(vectors):
        patches = stack([whole_film(index.film(row), card.preprocessing.tokens, loaded.encoder.patch)]).to(device)
        expected = film_vectors(loaded.encoder, patches, precision=vector_settings(card).precision)[0]
        np.testing.assert_allclose(vector, expected.cpu(), rtol=1e-4, atol=1e-5)
    assert loaded.embed([]).shape == (0, card.vector_width)


def test_an_encoder_names_a_file_that_is_no_film(archive: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", MAESettings())
    loaded = mae_rad.load_encoder(tmp_path / "run" / "encoder")
    assert loaded.embed([]).shape == (0, 32)
    with pytest.raises(EvaluationError, match=r"note\.txt holds no film that can be embedded: not_a_film"):
        loaded.embed([archive / "p0" / "PA.dcm", archive / "note.txt"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "MARNOSCH.txt").write_text("no film")
    with pytest.raises(EvaluationError, match=r"^file 1 of \S+folder, ordered by name, holds no film") as raised:
        loaded.embed([tmp_path / "folder"])
    assert "MARNOSCH" not in str(raised.value)
    with pytest.raises(ArchiveError, match="absent does not exist"):
        loaded.embed([tmp_path / "absent"])


@pytest.mark.parametrize("boxes", [False, True])
def test_a_predictor_gives_the_records_of_the_command(boxes: bool, archive: Path, tmp_path: Path) -> None:
    model = write_predictor(tmp_path / "model", boxes=boxes, views=("PA",))
    films = sorted(path for path in archive.rglob("*") if path.is_file())
    records = mae_rad.load_predictor(model).predict(films)
    runtime = {"workers": 0, "batch_size": 1}
    values = {
        "out": tmp_path / "out",
        "overlays": "none",
        "reports": False,
        "presentation_states": False,
        "runtime": runtime,
    }
    predict(model, films, PredictSettings.model_validate(values))
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    written = {record.path: record for record in map(Record.model_validate_json, lines)}
    assert [record.path for record in records] == [str(path.resolve()) for path in films]
    assert {record.status for record in records} == {"answered", "out_of_scope", "no_film"}
    for record in records:
        assert record == written[record.path].model_copy(update={"number": record.number})


def _run_card(folder: Path, film_file: Path) -> dict[str, object]:
    """Run the first example of a model card; returns its variables."""
    code = (folder / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    variables: dict[str, object] = {}
    exec(code.replace('"this folder"', repr(str(folder))).replace('"film.dcm"', repr(str(film_file))), variables)
    return variables


def test_the_lines_of_a_card_run(archive: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", MAESettings(decoder_dim=16, decoder_heads=4))
    export(tmp_path / "run", "safetensors", None, tmp_path / "exported")
    film_file = archive / "p0" / "PA.dcm"
    expected = mae_rad.load_encoder(tmp_path / "run").embed([film_file])
    assert expected.shape == (1, 32)
    for folder in (tmp_path / "run" / "encoder", tmp_path / "exported"):
        np.testing.assert_array_equal(_run_card(folder, film_file)["vectors"], expected)
    model = write_predictor(tmp_path / "model")
    folder = model / "predictor" if (model / "predictor").is_dir() else model
    assert _run_card(folder, film_file)["records"] == mae_rad.load_predictor(model).predict([film_file])


def test_a_predictor_takes_body_part_and_view_from_the_caller(archive: Path, tmp_path: Path) -> None:
    predictor = mae_rad.load_predictor(write_predictor(tmp_path / "model"))
    (record,) = predictor.predict([archive / "a.png"])
    assert (record.status, record.reason) == ("out_of_scope", "body_part_unknown")
    (record,) = predictor.predict([archive / "a.png"], body_part="HAND", view="PA")
    assert (record.status, record.body_part) == ("answered", "HAND")
    (record,) = predictor.predict([archive / "a.png"], out_of_scope="answer")
    assert (record.status, record.reason) == ("answered", "body_part_unknown")
    with pytest.raises(PredictionError, match="body_part=KNEE"):
        predictor.predict([archive / "a.png"], body_part="KNEE")


def test_shards_are_a_dataset_of_displayed_films(tmp_path: Path) -> None:
    films = [film(f"film {number}", noise(40 + 8 * number, 64, number)) for number in range(3)]
    films.append(film("tested", noise(40, 40, 9), split="test"))
    public = write_public(tmp_path / "public", films)
    dataset = mae_rad.open_shards(public)
    assert len(dataset) == 4
    for one, (stream, sidecar) in zip(dataset, films, strict=True):
        stored = decode_film(stream, bits=sidecar["display"]["bits"])
        shown = apply_display(stored, one.sidecar.display)
        assert one.key == sidecar["key"]
        assert one.image.dtype == torch.float32
        np.testing.assert_array_equal(one.image.numpy(), shown.astype(np.float32) / np.float32(65535))
    assert dataset[-1].key == films[-1][1]["key"]
    assert len(list(torch.utils.data.DataLoader(dataset, batch_size=None))) == 4
    assert [one.key for one in mae_rad.open_shards(public, split="test")] == [films[-1][1]["key"]]
    with pytest.raises(SettingsError, match="no film"):
        mae_rad.open_shards(public, where={"body_part": "KNEE"})
