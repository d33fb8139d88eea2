"""A presentation state places boxes and texts on its film, displays it as its header says, and says what it is not."""

import io
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from data_prep.sharding.single_film import ArchiveFile, PreparationSettings, read_films
from mae_rad.prediction.presentation_state import encode_state, presentation_state
from mae_rad.prediction.record import PredictedClass, PredictedNumber
from tests.builders.dicom_builder import CR, uid
from tests.data_prep.shard_format.test_frames import frames, write_frames
from tests.mae_rad.prediction.test_structured_report import AUTHOR, box, header, record

WARNING = "fracture is not shown to be better than chance: AUROC 0.550 [0.450, 0.650] on 40 test films"


def read_back(film: Dataset, one: Any) -> Dataset:
    """As another program reads it."""
    return pydicom.dcmread(io.BytesIO(encode_state(presentation_state(film, one, AUTHOR))))


def texts(state: Dataset) -> list[str]:
    (annotation,) = state.GraphicAnnotationSequence
    return [text.UnformattedTextValue for text in annotation.TextObjectSequence]


def test_a_box_is_a_closed_polyline_on_the_film(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    state = read_back(film, record(boxes=(box(), box(reached={"sensitivity_90": False}, x_min=1))))
    assert state.SOPClassUID == GrayscaleSoftcopyPresentationStateStorage and state.Modality == "PR"
    (annotation,) = state.GraphicAnnotationSequence
    (outline,) = annotation.GraphicObjectSequence
    assert (outline.GraphicType, outline.GraphicAnnotationUnits, outline.NumberOfGraphicPoints) == (
        "POLYLINE",
        "PIXEL",
        5,
    )
    assert list(outline.GraphicData) == [10.25, 20, 30.5, 20, 30.5, 44, 10.25, 44, 10.25, 20]
    (image,) = annotation.ReferencedImageSequence
    assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (CR, film.SOPInstanceUID)
    assert "ReferencedFrameNumber" not in image
    (series,) = state.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == film.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID
    (layer,) = state.GraphicLayerSequence
    assert layer.GraphicLayer == annotation.GraphicLayer
    assert texts(state)[1] == "fracture 0.60" and len(texts(state)) == 2
    assert list(annotation.TextObjectSequence[1].AnchorPoint) == [10.25, 20]


def test_it_has_the_patient_of_the_film_and_no_pixels(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    state, again = (read_back(film, record()) for _ in range(2))
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert state[name].value == film[name].value
    assert "PixelData" not in state and "GraphicObjectSequence" not in state.GraphicAnnotationSequence[0]
    assert state.SOPInstanceUID == again.SOPInstanceUID != film.SOPInstanceUID
    assert state.SeriesInstanceUID != film.SeriesInstanceUID


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_the_film_is_displayed_as_its_header_says(tmp_path: Path, photometric: str, shape: str) -> None:
    attributes = {"RescaleSlope": 2, "RescaleIntercept": -10, "RescaleType": "US", "window": (1000, 2000)}
    film = header(tmp_path / "film.dcm", photometric=photometric, **attributes)
    state = read_back(film, record())
    assert (state.RescaleSlope, state.RescaleIntercept, state.PresentationLUTShape) == (2, -10, shape)
    (voi,) = state.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (1000, 2000)
    (area,) = state.DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [film.Columns, film.Rows]


def test_the_text_has_answers_and_warnings(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    one = record(warnings=(WARNING,), reason="body_part_not_in_training")
    assert texts(read_back(film, one))[0].split("\r\n") == [
        "By a model, for research. Not a medical device.",
        "OUT OF SCOPE: body part not in training; a guess",
        "WARNING: fracture is not shown to be better than chance: AUROC 0.550 [0.450, 0.650]",
        "fracture: 0.87, reaches sensitivity 90",
        "jewellery_clothing: 0.04, below all operating points",
    ]
    numbers = (PredictedNumber(label="bone_age", value=131.25, unit="months"),)
    classes = (PredictedClass(label="view", predicted="PA", probabilities={"PA": 0.75, "AP": 0.25}),)
    other = record(findings=(), numbers=numbers, classes=classes)
    assert texts(read_back(film, other))[0].split("\r\n")[1:3] == ["bone_age: 131.2 months", "view: PA (0.75)"]


def test_a_box_beyond_the_film_ends_at_its_edge_and_a_long_text_is_cut(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    one = record(boxes=(box(x_min=-3, y_max=9999),), warnings=("x" * 2000,))
    state = read_back(film, one)
    data = list(state.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData)
    assert data[0] == 0 and data[5] == film.Rows
    assert len(texts(state)[0]) == 1024 and texts(state)[0].startswith("By a model, for research.")


def test_names_and_labels_may_have_any_letters(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm", SpecificCharacterSet="ISO_IR 100", PatientName="MÜLLER^ANNA")
    number = PredictedNumber(label="Dichte ρ", value=1.5, unit="g/cm²")
    state = read_back(film, record(findings=(), numbers=(number,)))
    assert str(state.PatientName) == "MÜLLER^ANNA" and "\r\nDichte ρ: 1.5 g/cm²" in texts(state)[0]


def test_a_frame_of_a_multi_frame_film_is_named(tmp_path: Path) -> None:
    path = tmp_path / "frames.dcm"
    write_frames(path, frames("a", "b"), study="two")
    _, second = read_films(ArchiveFile(str(path), path.name), PreparationSettings())
    assert second.header is not None
    second.header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    second.header.WindowCenter, second.header.WindowWidth, second.header.RescaleSlope = 500, 900, 3
    second.header.RescaleIntercept, second.header.RescaleType = 0, "US"
    state = read_back(second.header, record(frame=2))
    assert (state.SoftcopyVOILUTSequence[0].WindowCenter, state.RescaleSlope) == (500, 3)
    assert state.GraphicAnnotationSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber == 2


def test_a_header_without_series_or_patient_is_completed(tmp_path: Path) -> None:
    film = header(tmp_path / "film.dcm")
    for name in ("SeriesInstanceUID", "PatientID", "AccessionNumber"):
        del film[name]
    state = read_back(film, record())
    assert state.PatientID == "" and uid(state.ReferencedSeriesSequence[0].SeriesInstanceUID)
