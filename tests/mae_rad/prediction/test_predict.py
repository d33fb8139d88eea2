"""Predictions of film files: equal to those from shards, with reasons where there are none, private, and resumable."""

import csv
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from data_prep.archive.manifest import read_linkage
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.sharding.shard import shard
from data_prep.sharding.single_film import PreparationSettings
from launch.predict import main
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import stack, whole_film
from mae_rad.errors import PredictionError
from mae_rad.export.predictor_folder import Predictor, load_predictor
from mae_rad.heads.interface import Boxes, Prediction
from mae_rad.prediction import predict as prediction
from mae_rad.prediction.predict import predict
from mae_rad.prediction.settings import PredictSettings
from tests.builders.dicom_builder import DX_FOR_PROCESSING, write_film
from tests.builders.private_builder import anatomy, make_private, settings, write_archive
from tests.builders.small_predictor import LABELS, write_predictor
from tests.data_prep.shard_format.test_frames import frames, write_frames

IN_PROCESS: dict[str, Any] = {"workers": 0, "device": "cpu", "batch_size": 4}
NO_OUTPUT_FILES: dict[str, Any] = {"overlays": "none", "reports": False, "presentation_states": False}


def run_predict(model: Path, inputs: Sequence[Path], out: Path, **more: Any) -> Any:
    values = {"out": out, "runtime": IN_PROCESS | more.pop("runtime", {})} | more
    return predict(model, inputs, PredictSettings.model_validate(values))


def records(out: Path) -> dict[str, dict[str, Any]]:
    """Name of the file → its last record."""
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return {Path(line["path"]).name: line for line in lines}


def table(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def hand(path: Path, name: str, shape: tuple[int, int] = (96, 80), **more: Any) -> None:
    what = {"BodyPartExamined": "HAND", "ViewPosition": "PA", "window": (2048, 4096)}
    write_film(path, values=anatomy(name, *shape), **what | more)


def test_the_prediction_of_a_dicom_film_equals_that_of_its_shard_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "archive", patients=3)
    write_frames(tmp_path / "archive" / "frames.dcm", frames("a", "b"), study="two", BodyPartExamined="HAND")
    private = make_private(tmp_path, monkeypatch)
    shard(private, tmp_path / "public", settings())
    config = read_dataset_card(tmp_path / "public").config
    model = write_predictor(tmp_path / "model", preparation=PreparationSettings.of(config), body_parts=(), views=())
    run_predict(model, [tmp_path / "archive"], tmp_path / "out", **NO_OUTPUT_FILES, runtime={"batch_size": 1})

    paths = dict(zip(*(read_linkage(private)[name].to_pylist() for name in ("key", "path")), strict=True))
    predictor, index = load_predictor(model), ShardIndex([tmp_path / "public"], split=None)
    from_shards = set()
    for row in range(len(index)):
        film = index.film(row)
        patches = stack([whole_film(film, predictor.card.tokens, predictor.card.encoder.patch)])
        probabilities = predictor.predict(patches).probabilities
        assert probabilities is not None
        frame = film.sidecar.frame
        path = paths.get(index.key(row), str(tmp_path / "archive" / "frames.dcm"))
        from_shards.add((path, None if frame is None else frame + 1, *probabilities[0].tolist()))

    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    from_files = {
        (line["path"], line.get("frame"), *(finding["score"] for finding in line["findings"]))
        for line in lines
        if line["status"] == "answered"
    }
    assert len(from_files) == len(index) == 10
    assert from_files == from_shards
    assert len({line[2:] for line in from_files}) > 1, "equal scores of all films would not test anything"


def test_files_without_a_prediction_have_a_reason(tmp_path: Path) -> None:
    films = tmp_path / "films"
    hand(films / "hand.dcm", "hand")
    hand(films / "raw.dcm", "raw", sop_class=DX_FOR_PROCESSING)
    hand(films / "knee.dcm", "knee", BodyPartExamined="KNEE")
    hand(films / "oblique.dcm", "oblique", ViewPosition="OBLIQUE")
    hand(films / "unknown.dcm", "unknown", BodyPartExamined=None)
    hand(films / "cut.dcm", "cut")
    (films / "cut.dcm").write_bytes((films / "cut.dcm").read_bytes()[:-3000])
    (films / "note.txt").write_text("no film")
    summary = run_predict(write_predictor(tmp_path / "model"), [films], tmp_path / "out", **NO_OUTPUT_FILES)
    outcomes = {name: (record["status"], record.get("reason")) for name, record in records(tmp_path / "out").items()}
    assert outcomes == {
        "hand.dcm": ("answered", None),
        "raw.dcm": ("no_film", "for_processing"),
        "knee.dcm": ("out_of_scope", "body_part_not_in_training"),
        "oblique.dcm": ("out_of_scope", "view_not_in_training"),
        "unknown.dcm": ("out_of_scope", "body_part_unknown"),
        "cut.dcm": ("no_film", "corrupt_pixels"),
        "note.txt": ("no_film", "not_a_film"),
    }
    assert all("findings" not in one for one in records(tmp_path / "out").values() if one["status"] != "answered")
    assert summary.exit_code == 3
    assert "for_processing" in summary.text
    assert "raw.dcm" not in summary.text


def test_a_film_out_of_scope_can_be_predicted_and_is_marked(tmp_path: Path) -> None:
    hand(tmp_path / "films" / "knee.dcm", "knee", BodyPartExamined="KNEE")
    summary = run_predict(
        write_predictor(tmp_path / "model"), [tmp_path / "films"], tmp_path / "out", out_of_scope="answer"
    )
    (row,) = table(tmp_path / "out")
    assert (row["status"], row["reason"]) == ("answered", "body_part_not_in_training")
    assert 0 < float(row["fracture"]) < 1
    assert summary.exit_code == 0


@pytest.mark.parametrize("boxes", [False, True], ids=["classification", "detection"])
def test_a_label_that_does_not_apply_is_not_predicted(boxes: bool, tmp_path: Path) -> None:
    for name, part in (("hand", "HAND"), ("chest", "CHEST"), ("knee", "KNEE")):
        hand(tmp_path / "films" / f"{name}.dcm", name, BodyPartExamined=part)
    where = {"fracture": {"body_part": ["HAND", "WRIST"]}, "foreign_object": {"body_part": ["HAND", "CHEST"]}}
    low = {"low": dict.fromkeys(LABELS, 0.0)}
    model = write_predictor(tmp_path / "model", where=where, boxes=boxes, points=low, body_parts=())
    summary = run_predict(model, [tmp_path / "films"], tmp_path / "out")
    labels = {
        name: [finding["label"] for finding in record.get("findings", ())]
        for name, record in records(tmp_path / "out").items()
    }
    assert labels == {"hand.dcm": ["fracture", "foreign_object"], "chest.dcm": ["foreign_object"], "knee.dcm": []}
    chest, knee = (records(tmp_path / "out")[name] for name in ("chest.dcm", "knee.dcm"))
    assert {box["label"] for box in chest.get("boxes", ())} <= {"foreign_object"}
    assert (knee["status"], knee["reason"]) == ("out_of_scope", "no_label_for_such_films")
    row = next(row for row in table(tmp_path / "out") if row["path"].endswith("chest.dcm"))
    assert (row["fracture"], row["fracture low"]) == ("", "")
    assert summary.exit_code == 3


def test_the_given_body_part_decides_the_labels_of_images(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    Image.fromarray(anatomy("a", bits=8).astype(np.uint8)).save(tmp_path / "films" / "a.png")
    model = write_predictor(tmp_path / "model", where={"fracture": {"body_part": "HAND"}}, views=())
    run_predict(model, [tmp_path / "films"], tmp_path / "out", **NO_OUTPUT_FILES, body_part="HAND")
    (record,) = records(tmp_path / "out").values()
    assert [one["label"] for one in record["findings"]] == ["fracture", "foreign_object"]


def test_the_exit_code_is_zero_with_other_files_next_to_films(tmp_path: Path) -> None:
    hand(tmp_path / "films" / "hand.dcm", "hand")
    (tmp_path / "films" / "note.txt").write_text("no film")
    model = write_predictor(tmp_path / "model")
    assert run_predict(model, [tmp_path / "films"], tmp_path / "out", **NO_OUTPUT_FILES).exit_code == 0
    assert run_predict(model, [tmp_path / "films" / "note.txt"], tmp_path / "none", **NO_OUTPUT_FILES).exit_code == 3


def test_images_are_predicted_with_a_given_body_part_and_view(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    Image.fromarray(anatomy("a", bits=8).astype(np.uint8)).save(tmp_path / "films" / "a.png")
    model = write_predictor(tmp_path / "model")
    assert run_predict(model, [tmp_path / "films"], tmp_path / "one", **NO_OUTPUT_FILES).exit_code == 3
    given = {"body_part": "HAND", "view": "PA"}
    assert run_predict(model, [tmp_path / "films"], tmp_path / "two", **given).exit_code == 0
    (record,) = records(tmp_path / "two").values()
    assert record["overlay"] == "000001.png"
    assert "report" not in record
    with pytest.raises(PredictionError, match=r"body_part=KNEE was not in training\. Use one of CHEST, HAND"):
        run_predict(model, [tmp_path / "films"], tmp_path / "three", body_part="KNEE")


def test_the_folder_is_private_and_file_names_are_numbers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "DOE_JANE"
    hand(where / "MRN-4711.dcm", "a", patient_id="MRN-4711", PatientName="DOE^JANE")
    write_frames(where / "two.dcm", frames("b", "c"), patient_id="MRN-4711", BodyPartExamined="HAND", ViewPosition="PA")
    out = tmp_path / "out"
    code = main([str(write_predictor(tmp_path / "model")), str(where), f"out={out}", "runtime.workers=0"])
    printed = capfd.readouterr()
    assert code == 0, printed.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in out.rglob("*"))
    names = sorted(path.name for path in (out / "overlays").iterdir())
    assert names == ["000001.png", "000002-01.png", "000002-02.png"]
    assert sorted(path.name for path in (out / "reports").iterdir()) == [f"{name[:-4]}.dcm" for name in names]
    for text in ("DOE", "MRN-4711", "JANE"):
        assert text not in printed.out + printed.err
        assert all(text.encode() not in path.read_bytes() for path in (out / "overlays").iterdir())
    with Image.open(out / "overlays" / "000001.png") as picture:
        assert picture.info == {}
    assert {row["path"] for row in table(out)} == {str(where / "MRN-4711.dcm"), str(where / "two.dcm")}
    assert [row["frame"] for row in table(out)] == ["", "1", "2"]


def test_the_table_states_above_or_below_each_operating_point(tmp_path: Path) -> None:
    hand(tmp_path / "films" / "hand.dcm", "hand")
    low, high = {"low": dict.fromkeys(LABELS, 0.0)}, {"high": {"fracture": 1.0}}
    model = write_predictor(tmp_path / "model", points=low | high)
    run_predict(model, [tmp_path / "films"], tmp_path / "out", **NO_OUTPUT_FILES)
    (row,) = table(tmp_path / "out")
    assert (row["fracture low"], row["fracture high"]) == ("above", "below")
    assert (row["foreign_object low"], row["foreign_object high"]) == ("above", "")


def test_overlays_findings_draws_only_films_with_findings(tmp_path: Path) -> None:
    hand(tmp_path / "films" / "hand.dcm", "hand")
    for threshold, pictures in ((0.0, 1), (1.0, 0)):
        model = write_predictor(tmp_path / f"model {threshold}", points={"point": dict.fromkeys(LABELS, threshold)})
        out = tmp_path / f"out {threshold}"
        run_predict(model, [tmp_path / "films"], out, overlays="findings", reports=False)
        assert len(list((out / "overlays").iterdir())) == pictures


def write_hands(folder: Path, count: int) -> Path:
    for number in range(count):
        hand(folder / f"{number}.dcm", f"hand {number}")
    return folder


def test_an_interrupted_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films, model = write_hands(tmp_path / "films", 7), write_predictor(tmp_path / "model")
    one_by_one: dict[str, Any] = {"runtime": {"batch_size": 1}, **NO_OUTPUT_FILES}
    run_predict(model, [films], tmp_path / "whole", **one_by_one)

    predicted_films: list[int] = []
    answer = Predictor.predict

    def counted(self: Predictor, patches: Any) -> Prediction:
        predicted_films.append(len(patches.values))
        if len(predicted_films) == 4:
            raise KeyboardInterrupt
        return answer(self, patches)

    monkeypatch.setattr(Predictor, "predict", counted)
    with pytest.raises(KeyboardInterrupt):
        run_predict(model, [films], tmp_path / "cut", **one_by_one)
    with (tmp_path / "cut" / "predictions.jsonl").open("a") as file:
        file.write('{"number": 4, "path')  # an incomplete line, as left by a power failure
    run_predict(model, [films], tmp_path / "cut", **one_by_one)
    assert sum(predicted_films) == 8, "three before the interruption, the interrupted one, and the four remaining ones"
    assert table(tmp_path / "cut") == table(tmp_path / "whole")
    run_predict(model, [films], tmp_path / "cut", **one_by_one)
    assert sum(predicted_films) == 8


def test_a_changed_file_is_predicted_again_and_new_files_get_new_numbers(tmp_path: Path) -> None:
    films, model = write_hands(tmp_path / "films", 2), write_predictor(tmp_path / "model")
    run_predict(model, [films], tmp_path / "out", **NO_OUTPUT_FILES)
    before = {Path(row["path"]).name: row for row in table(tmp_path / "out")}
    hand(films / "1.dcm", "another", PatientID="longer")
    hand(films / "0a.dcm", "new")
    run_predict(model, [films], tmp_path / "out", **NO_OUTPUT_FILES)
    after = {Path(row["path"]).name: row for row in table(tmp_path / "out")}
    assert after["0.dcm"] == before["0.dcm"]
    assert after["1.dcm"]["number"] == before["1.dcm"]["number"]
    assert after["1.dcm"]["fracture"] != before["1.dcm"]["fracture"]
    assert after["0a.dcm"]["number"] == "3"


def test_a_folder_of_other_predictions_or_other_files_is_refused(tmp_path: Path) -> None:
    films, model = write_hands(tmp_path / "films", 1), write_predictor(tmp_path / "model")
    run_predict(model, [films], tmp_path / "out", **NO_OUTPUT_FILES)
    with pytest.raises(PredictionError, match="predictions with another model"):
        run_predict(write_predictor(tmp_path / "other", seed=1), [films], tmp_path / "out", **NO_OUTPUT_FILES)
    with pytest.raises(PredictionError, match="predictions with another settings"):
        run_predict(model, [films], tmp_path / "out", **NO_OUTPUT_FILES, out_of_scope="answer")
    with pytest.raises(PredictionError, match="holds other files"):
        run_predict(model, [films], tmp_path, **NO_OUTPUT_FILES)
    with pytest.raises(PredictionError, match="lies inside"):
        run_predict(model, [films], films / "out", **NO_OUTPUT_FILES)


def test_user_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(write_predictor(tmp_path / "model"))
    films = str(write_hands(tmp_path / "films", 1))
    for words, expected in (
        ([model, str(tmp_path / "nothing"), f"out={tmp_path / 'out'}"], "does not exist"),
        ([str(tmp_path), films, f"out={tmp_path / 'out'}"], "predictor"),
        ([model, films], "'out' is required"),
        ([model, films, f"out={tmp_path / 'out'}", "batch_size=3"], "did you mean 'runtime.batch_size'"),
    ):
        assert main(words) == 2
        message = capsys.readouterr().err
        assert expected in message
        assert message.count("\n") == 1


def test_an_existing_file_named_like_a_setting_is_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand(tmp_path / "x=1.dcm", "hand")
    monkeypatch.chdir(tmp_path)
    words = [str(write_predictor(tmp_path / "model")), "x=1.dcm", "out=answers", "overlays=none", "reports=false"]
    assert main([*words, "runtime.workers=0", "runtime.device=cpu"]) == 0
    assert set(records(tmp_path / "answers")) == {"x=1.dcm"}


class _PlantedBoxes(nn.Module):
    """Predicts the same two boxes on every film, in pixels of the grid."""

    labels = LABELS

    def encode(self, encoder: nn.Module, patches: Any) -> Any:
        return encoder(patches)

    def forward(self, _: Any, patches: Any) -> Tensor:
        return patches.size

    def answer(self, sizes: Tensor) -> Prediction:
        corners = torch.tensor([[8.0, 16.0, 24.0, 32.0], [0.0, 0.0, 8.0, 8.0]])
        return Prediction(boxes=[Boxes(corners, torch.tensor([0.4, 0.9]), torch.tensor([0, 1]))] * len(sizes))


def test_boxes_are_in_pixels_of_the_dicom_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = 300, 200
    hand(tmp_path / "films" / "hand.dcm", "box", (rows, columns))
    model = write_predictor(tmp_path / "model")

    def with_boxes(folder: Path) -> Predictor:
        predictor = load_predictor(folder)
        predictor.head = _PlantedBoxes()  # type: ignore[assignment]
        return predictor

    monkeypatch.setattr(prediction, "load_predictor", with_boxes)
    run_predict(model, [tmp_path / "films"], tmp_path / "out")
    with (tmp_path / "out" / "boxes.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(box["label"], float(box["score"])) for box in found] == [
        ("foreign_object", pytest.approx(0.9)),
        ("fracture", pytest.approx(0.4)),
    ]
    (record,) = records(tmp_path / "out").values()
    assert [round(finding["score"], 4) for finding in record["findings"]] == [0.4, 0.9]
    card = load_predictor(model).card
    film = stack_of(tmp_path / "films" / "hand.dcm", card)
    down, across = film  # patches: the whole film lies under the whole grid
    scale = np.array([columns / (across * 8), rows / (down * 8)] * 2)
    for box, corners in zip(reversed(found), ([8, 16, 24, 32], [0, 0, 8, 8]), strict=True):
        edges = [float(box[name]) for name in ("x_min", "y_min", "x_max", "y_max")]
        np.testing.assert_allclose(edges, np.array(corners) * scale, atol=0.01)
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 1


def test_a_detection_predicts_boxes_and_regions(tmp_path: Path) -> None:
    for name, shape in (("tall", (160, 70)), ("wide", (70, 160)), ("like tall", (160, 70))):
        hand(tmp_path / "films" / f"{name}.dcm", name, shape)
    points = {"0.5 false positives per film": dict.fromkeys(LABELS, 0.0)}
    model = write_predictor(tmp_path / "model", boxes=True, points=points)
    assert run_predict(model, [tmp_path / "films"], tmp_path / "out").exit_code == 0
    for name, record in records(tmp_path / "out").items():
        assert 1 <= len(record["boxes"]) <= 5
        assert all(0 <= box["x_min"] <= box["x_max"] <= record["columns"] for box in record["boxes"])
        assert all(0 <= box["y_min"] <= box["y_max"] <= record["rows"] for box in record["boxes"])
        scores = [box["score"] for box in record["boxes"]]
        assert scores == sorted(scores, reverse=True)
        assert max(finding["score"] for finding in record["findings"]) == scores[0]
        document = hd.sr.srread(tmp_path / "out" / "reports" / record["report"])
        assert len(document.content.get_planar_roi_measurement_groups()) == len(scores), name
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 3


def stack_of(path: Path, card: Any) -> tuple[int, int]:
    """Grid (down, across) of a film, by the coordinates of its patches."""
    from data_prep.sharding.single_film import list_files
    from mae_rad.prediction.film_reader import FilmFileReader

    films = FilmFileReader(card.film, card.tokens, card.encoder.patch)(list_files([path])[0])
    assert isinstance(films, list)
    return len(np.unique(films[0].patches.coords[:, 0])), len(np.unique(films[0].patches.coords[:, 1]))
