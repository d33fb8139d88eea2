"""A frame is a film: files with several frames, from the scan to labels and audit."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, encapsulate_extended

from data_prep.archive.manifest import read_manifest
from data_prep.errors import FilmReject, LabelError, Reason
from data_prep.film.decode import decode
from data_prep.film.sample import pixel_sha256
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.dataset_card import DatasetCard
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.sidecar import MAX_FRAMES
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from data_prep.verification.verify import verify
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy, settings

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
EXPLICIT = "1.2.840.10008.1.2.1"


def frames(*names: object) -> list[NDArray[np.uint16]]:
    return [anatomy(name) for name in names]


def write_frames(path: Path, values: list[NDArray[Any]], *, extended: bool = False, **attributes: Any) -> Path:
    """A film with the frames ``values``, uncompressed, or as JPEG lossless where ``attributes`` name that syntax."""
    packed = attributes.pop("packed", False)
    write_film(path, values=values[0], NumberOfFrames=len(values), **attributes)
    film = pydicom.dcmread(path)
    if not packed:
        film.PixelData = b"".join(one.tobytes() for one in values)
    else:
        streams = [bytes(imagecodecs.jpeg8_encode(one, lossless=True, predictor=1, bitspersample=12)) for one in values]
        film.file_meta.TransferSyntaxUID = JPEG_LOSSLESS
        if extended:
            film.PixelData, film.ExtendedOffsetTable, film.ExtendedOffsetTableLengths = encapsulate_extended(streams)
        else:
            film.PixelData = encapsulate(streams)
        film["PixelData"].VR = "OB"
    film.save_as(path)
    return path


@pytest.mark.parametrize("how", [{}, {"packed": True}, {"packed": True, "extended": True}])
def test_every_frame_is_read_from_its_offset(how: dict[str, Any], tmp_path: Path) -> None:
    values = frames("a", "b", "c")
    data = write_frames(tmp_path / "film.dcm", values, **how).read_bytes()
    syntax = JPEG_LOSSLESS if how else EXPLICIT
    for number, one in enumerate(values):
        film = decode(data, source="dicom", transfer_syntax=syntax, frame=number, frames=3)
        assert np.array_equal(film.values, one)


@pytest.mark.parametrize("packed", [False, True])
def test_a_missing_frame_is_corrupt(packed: bool, tmp_path: Path) -> None:
    path = write_frames(tmp_path / "film.dcm", frames("a", "b"), packed=packed)
    film = pydicom.dcmread(path)
    film.NumberOfFrames = 3
    film.save_as(path)
    with pytest.raises(FilmReject) as caught:
        decode(path.read_bytes(), source="dicom", transfer_syntax=JPEG_LOSSLESS if packed else EXPLICIT,
               frame=2, frames=3)  # fmt: skip
    assert caught.value.reason is Reason.CORRUPT_PIXELS


def sharded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetCard:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    scan([folder / "archive"], folder / "private", ScanSettings(workers=1))
    return shard(folder / "private", folder / "public", settings(max_side="native"))


def test_frames_become_films_and_the_card_counts_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, values = tmp_path / "archive", frames("a", "b", "c")
    write_frames(archive / "three.dcm", values)
    write_frames(archive / "again.dcm", values, packed=True, sop=pydicom.dcmread(archive / "three.dcm").SOPInstanceUID)
    write_film(archive / "one.dcm", values=anatomy("one"))
    write_frames(archive / "bad.dcm", [anatomy("d"), np.full_like(anatomy("d"), 7)])
    write_frames(archive / "cine.dcm", [anatomy("e")] * (MAX_FRAMES + 1))
    card = sharded(tmp_path, monkeypatch)
    assert card.reasons == {"duplicate": 1, "constant": 1, "multi_frame": 1}  # one bad frame: the file as a whole
    assert (card.files.written, card.files.rejected, card.files.dropped) == (2, 2, 1)
    assert sum(card.films.values()) == 4
    index = pq.read_table(tmp_path / "public" / "index.parquet")
    manifest = read_manifest(tmp_path / "private").to_pylist()
    (key,) = {row["key"] for row in manifest if row["frames"] == 3}
    expected = {frame_key(key, number): (number, pixel_sha256(one, one.shape)) for number, one in enumerate(values)}
    found = {row["key"]: (row["frame"], row["pixel_sha256"]) for row in index.to_pylist() if row["frame"] is not None}
    assert found == expected and key in found
    assert verify(tmp_path / "public") == []
    assert audit(tmp_path / "public", privates=[tmp_path / "private"]).problems == []


def test_labels_name_the_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path / "archive" / "two.dcm", frames("a", "b"))
    write_film(tmp_path / "archive" / "one.dcm", values=anatomy("one"))
    sharded(tmp_path, monkeypatch)
    table, private, public = tmp_path / "labels.csv", tmp_path / "private", tmp_path / "public"
    keys = {row["frames"]: row["key"] for row in read_manifest(private).to_pylist()}
    table.write_text("path,frame,label,value\ntwo.dcm,2,fracture,present\none.dcm,,fracture,absent\n")
    write_labels(private, public, LabelFiles([table]))
    labels = pq.read_table(public / "labels.parquet").to_pylist()
    assert {row["key"]: row["value"] for row in labels} == {frame_key(keys[2], 1): "present", keys[None]: "absent"}
    for frame in ("", "0", "3", "x"):
        table.write_text(f"path,frame,label,value\ntwo.dcm,{frame},fracture,present\n")
        with pytest.raises(LabelError, match="line 2: the file holds 2 films; give one of 1 to 2"):
            write_labels(private, public, LabelFiles([table]))
