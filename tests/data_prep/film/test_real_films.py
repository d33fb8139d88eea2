"""Every real DICOM file next to the checkout: pixels compared with a reference, display, or reject reason."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import generate_frames

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.errors import Reason
from data_prep.film.sample import decode_file, make_sample
from data_prep.planning.plan import plan_shards
from data_prep.planning.settings import ShardSettings
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.apply_display import apply_display
from data_prep.shard_format.film_codec import decode_film
from tests.builders.private_builder import SECRET

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "radiographs" / "dicom"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not REAL.is_dir(), reason="the real films are not next to the checkout"),
]

REJECTED = {
    "edge/CR_16x16_CSPINE_AP": Reason.TOO_SMALL,
    "edge/CR_Canon_no_pixeldata_bad_charset.dcm": Reason.NO_PIXELS,
    "edge/CT_no_file_meta.dcm": Reason.NOT_A_FILM,
    "edge/CT_small.dcm": Reason.NOT_A_RADIOGRAPH,
    "edge/MR_truncated.dcm": Reason.NOT_A_RADIOGRAPH,
    "edge/OT_VOILUT_vlut04.dcm": Reason.NOT_A_RADIOGRAPH,
    "edge/OT_signed_ModalityLUT_mlut18.dcm": Reason.NOT_A_RADIOGRAPH,
    "edge/SC_rgb_jpeg.dcm": Reason.NOT_A_RADIOGRAPH,
    "edge/SR_no_pixels.dcm": Reason.DOCUMENT,
    "edge/XA_multiframe_96_JPEGbaseline.dcm": Reason.MULTI_FRAME,
    "edge/deflated_OT_512.dcm": Reason.NOT_A_RADIOGRAPH,
    "misc/cr_in_secondary_capture_jpeg_baseline.dcm": Reason.SECONDARY_CAPTURE,
    "misc/cr_jpeg_baseline_wrongly_tagged_monochrome1.dcm": Reason.SECONDARY_CAPTURE,
    "misc/cr_monochrome1_jpeg_baseline.dcm": Reason.SECONDARY_CAPTURE,
    "misc/dx_in_secondary_capture_implicit.dcm": Reason.SECONDARY_CAPTURE,
}
"""Files that the default settings reject; all others are films."""
WRONGLY_TAGGED = "misc/cr_jpeg_baseline_wrongly_tagged_monochrome1.dcm"
HIP = "wg04/REF/RG2_UNC.dcm"
CHEST = "misc/cr_chest_implicit.dcm"
SAME = {
    HIP: [
        *(f"wg04/{name}/RG2_{name}.dcm" for name in ("RLE", "JPLL", "JLSL", "J2KR")),
        "derived/RG2_HTJ2K_lossless.dcm",
        HIP,
    ],
    CHEST: ["derived/cr_chest_deflated.dcm", "misc/cr_chest_explicit_monochrome1.dcm", CHEST],
}
"""Reference → files whose stored values equal it, sample by sample."""
CLOSE = {
    "wg04/J2KI/RG2_J2KI.dcm": (HIP, 2**10),
    "wg04/JLSN/RG2_JLSN.dcm": (HIP, 2**10),
    "wg04/JPLY/RG2_JPLY.dcm": (HIP, 2**10),
    "wg04/JPLY/RG2_JPLY_fixed.dcm": (HIP, 2**10),
    "wg04/J2KI/RG1_J2KI.dcm": ("wg04/JLSN/RG1_JLSN.dcm", 2**15),
}
"""Lossy files → (reference, its range)."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """File → row of the scan, with ``verdict`` for the reason of the default settings."""
    private = tmp_path_factory.mktemp("real") / "private"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECRET_VARIABLE, SECRET)
        scan([REAL], private, ScanSettings(workers=1))
    table = read_manifest(private)
    verdicts = {row["row"]: row["reason"] for row in plan_shards(table, ShardSettings()).rejects.to_pylist()}
    names = [Path(path).relative_to(REAL.resolve()).as_posix() for path in read_linkage(private)["path"].to_pylist()]
    rows = ({**row, "verdict": verdicts.get(row["row"])} for row in table.to_pylist())
    return dict(zip(names, rows, strict=True))


def values_of(name: str, manifest: dict[str, dict[str, Any]]) -> NDArray[Any]:
    return decode_file((REAL / name).read_bytes(), manifest[name]).values


def readable(manifest: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, row) for name, row in manifest.items() if row["verdict"] in (None, "secondary_capture"))


def test_every_file_is_a_film_or_has_the_right_reason(manifest: dict[str, dict[str, Any]]) -> None:
    assert set(manifest) == {path.relative_to(REAL).as_posix() for path in REAL.rglob("*") if path.is_file()}
    assert {name: row["verdict"] for name, row in manifest.items() if row["verdict"]} == REJECTED


def test_lossless_files_equal_their_reference_and_lossy_ones_come_close(manifest: dict[str, dict[str, Any]]) -> None:
    references = {
        HIP: np.frombuffer(pydicom.dcmread(REAL / HIP).PixelData, "<u2").reshape(2140, 1760),
        CHEST: np.frombuffer(pydicom.dcmread(REAL / CHEST).PixelData, "<u2").reshape(440, 440),
    }
    for reference, names in SAME.items():
        for name in names:
            assert np.array_equal(values_of(name, manifest), references[reference]), name
    for name, (reference, whole) in CLOSE.items():
        difference = values_of(name, manifest).astype(np.int64) - values_of(reference, manifest)
        assert np.abs(difference).mean() / whole < 0.004 and abs(difference.mean()) / whole < 0.001, name
    own = other_decoders()
    for name, values in own.items():
        assert np.array_equal(values_of(name, manifest), values), name
    covered = {*(one for names in SAME.values() for one in names), *CLOSE, *own, "wg04/JLSN/RG1_JLSN.dcm"}
    assert covered == {name for name, _ in readable(manifest)}


def other_decoders() -> dict[str, NDArray[Any]]:
    """Files without a reference, read by another decoder."""
    found: dict[str, NDArray[Any]] = {}
    for name in ("cr_in_secondary_capture_jpeg_baseline", Path(WRONGLY_TAGGED).stem, "cr_monochrome1_jpeg_baseline"):
        found[f"misc/{name}.dcm"] = np.asarray(Image.open(io.BytesIO(stream(f"misc/{name}.dcm"))))
    dental, captured = "misc/cr_dental_modality_lut_jpeg_lossless.dcm", "misc/dx_in_secondary_capture_implicit.dcm"
    found[dental] = imagecodecs.ljpeg_decode(stream(dental))
    film = pydicom.dcmread(REAL / captured)
    found[captured] = np.frombuffer(film.PixelData, f"<u{film.BitsAllocated // 8}").reshape(film.Rows, film.Columns)
    return found


def stream(name: str) -> bytes:
    return next(iter(generate_frames(pydicom.dcmread(REAL / name).PixelData, number_of_frames=1)))


def test_nothing_is_saturated_and_only_the_wrongly_tagged_film_is_suspect(manifest: dict[str, dict[str, Any]]) -> None:
    suspect = set()
    for name, row in readable(manifest):
        film = decode_file((REAL / name).read_bytes(), row)
        made = make_sample(film, row, split="train", max_side=512)
        displayed = apply_display(decode_film(made.film, bits=made.sidecar.display.bits), made.sidecar.display)
        assert (displayed == 65535).mean() < 0.02, f"{name} is saturated"
        middle = np.percentile(displayed[displayed > 0], (5, 95)) / 65535
        assert middle[1] - middle[0] > 0.15, f"{name} has no contrast"
        if made.polarity_suspect:
            suspect.add(name)
    assert suspect == {WRONGLY_TAGGED}
