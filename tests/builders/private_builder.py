"""A small scanned archive: some patients with DICOM films, a few images, and files that are no films."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data_prep.planning.settings import ShardSettings
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from tests.builders.dicom_builder import DX_FOR_PRESENTATION, DX_FOR_PROCESSING, write_film

SECRET = "a secret that is long enough"
ONE = {"workers": 1, "isolated": False}


def anatomy(name: object, rows: int = 96, columns: int = 80, bits: int = 12) -> NDArray[np.uint16]:
    """A bright, textured ellipse before black, different for every name."""
    generator = np.random.default_rng(sum(repr(name).encode()))
    mask = np.zeros((rows, columns), dtype=np.uint8)
    cv2.ellipse(mask, (columns // 2, rows // 2), (columns // 3, rows // 3), 0, 0, 360, 1, -1)
    texture = generator.integers(2 ** (bits - 1), 2**bits, (rows, columns))
    return np.asarray(mask * texture, dtype=np.uint16)


def write_archive(archive: Path, patients: int = 6) -> None:
    """``patients`` with two films each, a DX for processing, two images, a text, a film too small and one cut short."""
    for number in range(patients):
        for view in ("PA", "LL"):
            write_film(
                archive / f"p{number}" / f"{view}.dcm",
                values=anatomy((number, view)),
                patient_id=f"MRN-0417-{number}",
                study=f"study {number}",
                window=(2048, 4096),
                photometric="MONOCHROME1" if number % 2 else "MONOCHROME2",
                sop_class=DX_FOR_PRESENTATION,
                BodyPartExamined="CHEST" if number % 3 else "HAND",
                ViewPosition=view,
                PatientAge="044Y",
                PatientSex="F",
                PixelSpacing=[0.2, 0.2],
            )
    write_film(
        archive / "raw.dcm",
        values=anatomy("raw"),
        sop_class=DX_FOR_PROCESSING,
        patient_id="MRN-0417-0",
        study="study 0",
    )
    for name, kind in (("a.png", "PNG"), ("b.jpg", "JPEG")):
        Image.fromarray(anatomy(name, bits=8).astype(np.uint8)).save(archive / name, kind)
    (archive / "note.txt").write_text("no film")
    write_film(archive / "cut.dcm", values=anatomy("cut"), patient_id="MRN-0417-1")
    (archive / "cut.dcm").write_bytes((archive / "cut.dcm").read_bytes()[:-2000])
    write_film(archive / "small.dcm", values=anatomy("small", 12, 12), patient_id="MRN-0417-2")


def make_private(folder: Path, monkeypatch: pytest.MonkeyPatch, *, secret: str = SECRET) -> Path:
    """Scan ``folder/archive`` (made unless it is there) into ``folder/private``."""
    monkeypatch.setenv(SECRET_VARIABLE, secret)
    archive = folder / "archive"
    if not archive.exists():
        write_archive(archive)
    private = folder / "private"
    scan([archive], private, ScanSettings(workers=1))
    return private


def settings(**values: object) -> ShardSettings:
    """Small shards, written in this process, with films in every split."""
    return ShardSettings.model_validate(
        {"films_per_shard": 3, "max_side": 64, "splits": {"val": 0.25, "test": 0.25}, "runtime": ONE} | values
    )
