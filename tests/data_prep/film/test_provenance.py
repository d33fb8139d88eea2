"""Provenance codes in sidecars; every code of the closed list occurs."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydicom.dataset import Dataset

from data_prep.errors import Reason
from data_prep.film.decode import StoredFilm, decode
from data_prep.film.header_display_settings import derive_display
from data_prep.film.sample import make_sample
from data_prep.film.shard_values import pixel_aspect, shrunk_size
from data_prep.shard_format.apply_display import ValueRange, apply_display
from data_prep.shard_format.film_codec import Codec, decode_film
from data_prep.shard_format.sidecar import Provenance
from tests.builders.dicom_builder import ramp, write_film
from tests.builders.private_builder import anatomy
from tests.data_prep.film.test_decode import ENCODERS, dicom, film_of, noise, packed, saved
from tests.data_prep.film.test_decode_colour import GREY, RGB, palette_film
from tests.data_prep.film.test_header_display_settings import EVEN, RANGE, curve, header, lut

JPEG_LS = "1.2.840.10008.1.2.4.80"
WINDOW = {"WindowCenter": 2048, "WindowWidth": 3000}


def decoded(tmp_path: Path, values: Any, **attributes: Any) -> list[Provenance]:
    return dicom(saved(film_of(tmp_path, values, **attributes))).notes


def provenance_of(made: Dataset, values: ValueRange = RANGE) -> list[Provenance]:
    return derive_display(made, values, EVEN).provenance


def test_plain_film_has_no_codes(tmp_path: Path) -> None:
    assert decoded(tmp_path, noise()) == []
    assert provenance_of(header(**WINDOW)) == []
    assert provenance_of(header()) == [], "a film without a window has no code; its display source is percentile"


def test_every_code_of_the_list_occurs(tmp_path: Path) -> None:
    values = noise()
    padded = values.copy()
    padded[:5] = 4000
    overlaid = film_of(tmp_path, noise(bits=10) | (np.arange(30, dtype=np.uint16) % 2 << 12), bits=10)
    overlaid.add_new(0x60000102, "US", 12)
    shutter = {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 5, "ShutterRightVerticalEdge": 25,
        "ShutterUpperHorizontalEdge": 5, "ShutterLowerHorizontalEdge": 35}  # fmt: skip
    broken = lut(curve()[:20])
    broken.LUTDescriptor = [4096, 0, 16]
    modality = lut(np.arange(4096, dtype="<u2"))
    table = np.arange(256).astype(np.uint8)[::-1].copy()
    stream = bytes(ENCODERS[JPEG_LS](values)) + b"written by ACME"
    plain = bytes(ENCODERS[JPEG_LS](values))
    twice = film_of(tmp_path, values)
    twice.PixelData *= 2
    cases: dict[Provenance, list[Provenance]] = {
        "syntax_contradicted": dicom(packed(film_of(tmp_path, values), plain), "1.2.840.10008.1.2.4.70").notes,
        "frames_ignored": dicom(saved(twice)).notes,
        "image_end_missing": dicom(packed(film_of(tmp_path, values), plain[:-2]), JPEG_LS).notes,
        "bytes_behind_image": dicom(packed(film_of(tmp_path, values), stream), JPEG_LS).notes,
        "palette_applied": dicom(saved(palette_film(tmp_path, GREY, [table] * 3))).notes,
        "colour_stored_grey": decoded(tmp_path, RGB, bits=8, photometric="RGB"),
        "bits_moved": decoded(tmp_path, (values << 4).astype(np.uint16), HighBit=15),
        "high_bit_ignored": decoded(tmp_path, values, HighBit=15),
        "bits_widened": decoded(tmp_path, ramp(40, 30), bits=10),
        "overlay_removed": dicom(saved(overlaid)).notes,
        "padding_hidden": decoded(tmp_path, padded, PixelPaddingValue=4000),
        "shutter_hidden": decoded(tmp_path, values, **shutter),
        "shutter_ignored": decoded(tmp_path, values, **shutter | {"ShutterShape": "BITMAP"}),
        "modality_lut": provenance_of(header(ModalityLUTSequence=[modality], **WINDOW)),
        "modality_lut_unusable": provenance_of(header(ModalityLUTSequence=[broken], **WINDOW)),
        "rescale_beside_lut": provenance_of(header(ModalityLUTSequence=[modality], RescaleSlope=2, **WINDOW))[1:],
        "rescale_unusable": provenance_of(header(RescaleSlope=0, RescaleIntercept=5, **WINDOW)),
        "voi_lut_unusable": provenance_of(header(VOILUTSequence=[broken], **WINDOW)),
        "window_unusable": provenance_of(header(WindowCenter=9000, WindowWidth=200)),
        "function_unknown": provenance_of(header(VOILUTFunction="CUBIC", **WINDOW)),
        "presentation_shape_conflict": provenance_of(header(PresentationLUTShape="INVERSE", **WINDOW)),
        "made_square": sample(tmp_path, [0.2, 0.1]).sidecar.display.provenance,
        "display_applied": sample(tmp_path, codec="jpeg").sidecar.display.provenance,
    }
    assert cases == {code: [code] for code in get_args(Provenance)}


def facts(**changed: Any) -> dict[str, Any]:
    row = dict.fromkeys(("site", "study_day", "body_part", "view", "laterality", "sex", "age_years", "manufacturer",
        "model", "presentation_intent", "pixel_spacing_from", "pixel_spacing_mm"))  # fmt: skip
    named = dict.fromkeys(("key", "patient", "study", "series"), "0" * 32)
    return row | named | {"patient_known": True, "bits_stored": 12, "photometric": "MONOCHROME2"} | changed


def sample(tmp_path: Path, spacing: list[float] | None = None, *, codec: Codec = "htj2k", **attributes: Any) -> Any:
    write_film(tmp_path / "film.dcm", values=anatomy("oblong", 120, 60), window=(2048, 4096), **attributes)
    film = dicom((tmp_path / "film.dcm").read_bytes())
    return make_sample(film, facts(pixel_spacing_mm=spacing), split="train", max_side=100, codec=codec)


@pytest.mark.parametrize(
    ("spacing", "size", "expected"),
    [
        ([0.2, 0.2], (100, 50), (0.24, 0.24)),
        ([0.2, 0.1], (100, 25), (0.24, 0.24)),
        ([0.1, 0.2], (60, 60), (0.2, 0.2)),
        ([0.2, 0.2004], (100, 50), (0.24, 0.24048)),
        ([0.2, 9.0], (100, 50), (0.24, 10.8)),
    ],
)
def test_pixels_become_square_by_shrinking_the_finer_direction(
    spacing: list[float], size: tuple[int, int], expected: tuple[float, float], tmp_path: Path
) -> None:
    made = sample(tmp_path, spacing)
    assert (made.sidecar.rows, made.sidecar.columns) == size
    assert (made.sidecar.source_rows, made.sidecar.source_columns) == (120, 60), "boxes stay in source pixels"
    assert made.sidecar.pixel_spacing_mm == pytest.approx(expected)
    film = decode_film(made.film, bits=12)
    assert film.shape == size and apply_display(film, made.sidecar.display).max() > 30_000


def test_aspect_ratio_counts_where_no_spacing_is_given(tmp_path: Path) -> None:
    assert sample(tmp_path, None, PixelAspectRatio=[2, 1]).sidecar.columns == 25
    assert sample(tmp_path, [0.1, 0.1], PixelAspectRatio=[2, 1]).sidecar.columns == 50
    for odd in ([0, 1], [1], [1, 1], [100, 1]):
        assert pixel_aspect(None, header(PixelAspectRatio=odd)) == 1
    assert shrunk_size(100, 100, "native", 2.0) == (100, 50) and shrunk_size(100, 100, "native", 0.5) == (50, 100)


def test_provenance_and_suspicion_are_columns_of_the_index(tmp_path: Path) -> None:
    row = sample(tmp_path, [0.2, 0.1], PresentationLUTShape="INVERSE").index_row()
    assert row["provenance"] == ["presentation_shape_conflict", "made_square"]
    assert row["polarity_suspect"] is False


def test_film_cut_short_in_its_pixels_is_corrupt_and_not_small(tmp_path: Path) -> None:
    from tests.data_prep.film.test_decode import ENCODERS, RLE, packed, rejected

    whole = packed(film_of(tmp_path, noise()), ENCODERS[RLE](noise()))
    for size in (len(whole) - 30, len(whole) - 100, len(whole) // 2):
        assert rejected(whole[:size], RLE) is Reason.CORRUPT_PIXELS


def test_images_have_no_codes() -> None:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "PNG")
    film: StoredFilm = decode(file.getvalue(), source="png")
    assert film.notes == []
