"""Heads on an encoder of native scale: training, evaluation, prediction and Python API see films of one size."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.settings import load
from data_prep.sharding.single_film import ArchiveFile, PreparationSettings
from mae_rad.api.encoder import FilmEncoder
from mae_rad.api.predictor import load_predictor as load_film_predictor
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding.film_vector import vector_settings
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_folder import load_encoder
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.finetuning.run import finetune
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.prediction.film_reader import FilmFileReader
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy
from tests.builders.small_predictor import write_predictor
from tests.builders.tiny_finetuning import arguments, write_labelled

PATCH = 24
ENCODER = f"encoder={{model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: {PATCH}, scale: native}}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards and run of a finetuning."""
    folder = tmp_path_factory.mktemp("native")
    public = write_labelled(folder / "public")
    words = arguments(public, folder / "run", ENCODER)
    finetune(load(FinetuneSettings, Path(words[1]), words[2:]))
    return public, folder / "run"


def test_the_predictor_predicts_native_films_as_in_its_evaluation(finished: tuple[Path, Path]) -> None:
    public, run = finished
    predictor = load_predictor(run)
    card = predictor.card
    assert card.encoder.film_scale.native
    assert "at the size of its shard" in (run / "predictor" / "README.md").read_text()
    predictions = pq.read_table(run / "evaluation" / "predictions.parquet").to_pylist()
    expected = {(row["key"], row["label"]): row["probability"] for row in predictions if row["split"] == "test"}
    index = ShardIndex([public], split="test").at_scale(card.encoder.film_scale)
    for rows, patches in whole_film_batches(index, tokens=card.tokens, patch=PATCH, batch=3, workers=0):
        assert patches.values.shape[1] in (5 * 5, 5 * 4 + 5)  # of 120 x 100 and 110 x 110 pixels
        probabilities = predictor.predict(patches).probabilities
        assert probabilities is not None
        for row, film in zip(rows, probabilities, strict=True):
            for label, probability in zip(card.labels, film.tolist(), strict=True):
                assert probability == pytest.approx(expected[index.key(row), label], abs=1e-6)
    encoder_card = load_encoder(run / "encoder")[1]
    assert encoder_card.encoder.film_scale.native


def test_random_scaling_is_refused_at_a_fixed_scale(finished: tuple[Path, Path], tmp_path: Path) -> None:
    words = arguments(finished[0], tmp_path / "run", ENCODER, "film.scale=0.2")
    with pytest.raises(SettingsError, match=r"film\.scale resizes films at random"):
        finetune(load(FinetuneSettings, Path(words[1]), words[2:]))


def test_files_are_read_at_the_scale_of_the_encoder(tmp_path: Path) -> None:
    write_film(tmp_path / "a.dcm", values=anatomy("a", 1700, 130), BodyPartExamined="HAND", ViewPosition="PA")
    settings = EncoderSettings(model="vit_tiny", dim=32, depth=1, heads=2, patch=PATCH, scale="native")
    read = FilmFileReader(PreparationSettings(max_side="native"), 36, PATCH, settings.film_scale)
    (film,) = read(ArchiveFile(str(tmp_path / "a.dcm"), "a.dcm"))
    assert film.patches.values.shape == (71 * 6, PATCH * PATCH)


def test_the_api_embeds_long_films_whole(finished: tuple[Path, Path]) -> None:
    encoder, card = load_encoder(finished[1] / "encoder")
    film = FilmEncoder(encoder, card)
    assert vector_settings(card).scale.native
    long = (anatomy("long", 1700, 100, bits=8)).astype(np.uint8)
    seen: list[int] = []
    film.encoder.embedding.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    film.embed([long])
    assert seen == [71 * 5]


def test_pictures_of_boxes_and_findings_are_drawn_on_the_film(tmp_path: Path) -> None:
    encoder = EncoderSettings(model="vit_tiny", dim=32, depth=1, heads=2, patch=16, scale="native")
    write_film(tmp_path / "a.dcm", values=anatomy("a", 100, 90), BodyPartExamined="HAND", ViewPosition="PA")
    for boxes in (False, True):
        model = write_predictor(
            tmp_path / f"model-{boxes}",
            encoder=encoder,
            boxes=boxes,
            preparation=PreparationSettings(max_side="native"),
        )
        (record,) = load_film_predictor(model).predict(tmp_path / "a.dcm", body_part="HAND", view="PA")
        assert record.status == "answered"
        for box in record.boxes:
            assert 0 <= box.x_min < box.x_max <= 90
            assert 0 <= box.y_min < box.y_max <= 100
