"""The head of a model card is what Hugging Face reads."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData

from mae_rad.export.encoder_folder import read_card, save_encoder
from mae_rad.export.export_run import export
from mae_rad.export.fixed_size import FilmSize
from mae_rad.export.hub_metadata import TAGS, front_matter
from mae_rad.objectives import MAESettings
from tests.builders.small_predictor import write_predictor
from tests.builders.trained_run import DECODER, train


def _card(folder: Path) -> tuple[ModelCardData, str]:
    """Head and text of the card of a folder."""
    card = ModelCard((folder / "README.md").read_text(encoding="utf-8"))
    return ModelCardData(**card.data.to_dict()), card.text.lstrip()


@pytest.mark.parametrize("to", ["timm", "hf_vit", "safetensors"])
def test_a_card_names_the_library_that_loads_it(to: str, tmp_path: Path) -> None:
    train(tmp_path / "run", MAESettings(**DECODER))
    data, text = _card(export(tmp_path / "run", to, FilmSize(16, 16), tmp_path / "out"))  # type: ignore[arg-type]
    assert data.library_name == {"hf_vit": "transformers", "safetensors": "mae_rad"}.get(to, to)
    assert data.pipeline_tag == "image-feature-extraction"
    assert set(TAGS) < set(data.tags)
    assert text.startswith("# Radiograph encoder")


def test_a_run_states_its_method_and_a_licence_only_if_it_is_known(tmp_path: Path) -> None:
    train(tmp_path / "run", MAESettings())
    folder = tmp_path / "run" / "encoder"
    assert _card(folder)[0].license is None
    from mae_rad.encoders.vit import build_encoder

    settings = read_card(folder).encoder
    provenance: dict[str, str | int | float | None] = {"objective": "mae", "licence": "Apache-2.0"}
    save_encoder(build_encoder(settings), settings, folder, tokens=36, provenance=provenance)
    data = _card(folder)[0]
    assert (data.license, data.tags) == ("apache-2.0", [*TAGS, "vit_base", "mae"])


@pytest.mark.parametrize(("boxes", "task"), [(False, "image-classification"), (True, "object-detection")])
def test_a_predictor_names_its_task(boxes: bool, task: str, tmp_path: Path) -> None:
    model = write_predictor(tmp_path / "model", boxes=boxes)
    data, text = _card(model / "predictor" if (model / "predictor").is_dir() else model)
    assert data.pipeline_tag == task
    assert data.library_name == "mae_rad"
    assert text.startswith("# Radiograph predictor")


def test_nothing_is_invented() -> None:
    assert (
        front_matter("mae_rad")
        == "---\nlibrary_name: mae_rad\ntags:\n- radiography\n- x-ray\n- medical-imaging\n---\n\n"
    )
