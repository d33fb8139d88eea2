"""From stored values to samples, and files that share a key or cannot be read."""

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from numpy.typing import NDArray

from data_prep.archive.file_listing import ArchiveFile
from data_prep.archive.header_pool import read_header
from data_prep.archive.same_film import IDENTIFIERS
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import Reason
from data_prep.film.decode import StoredFilm, decode
from data_prep.film.sample import decode_file, make_sample
from data_prep.film.shard_values import shrink, shrunk_size, to_shard_values, value_range
from data_prep.planning.shard_task import ShardTask
from data_prep.shard_format.apply_display import apply_display
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.shard_format.film_codec import decode_film
from data_prep.shard_format.sidecar import Sidecar
from data_prep.sharding import shard_writer
from data_prep.sharding.shard_writer import Unfinished, write_shard
from tests.builders.dicom_builder import DX_FOR_PROCESSING, SECONDARY_CAPTURE, uid, write_film
from tests.builders.private_builder import anatomy

KEY = "0" * 32


def facts(path: Path, row: int = 0, **changed: Any) -> dict[str, Any]:
    """A manifest row of the DICOM film at ``path``."""
    return {
        "row": row, "source": "dicom", "file_size": path.stat().st_size, "key": KEY, "patient": "1" * 32,
        "study": "2" * 32, "series": "3" * 32, "site": None, "patient_known": True, "study_day": 7,
        "transfer_syntax": "1.2.840.10008.1.2.1", "orientation": None, "body_part": "HAND", "view": "PA",
        "laterality": "L", "sex": "F", "age_years": 44, "manufacturer": None, "model": None, "bits_stored": 12,
        "photometric": "MONOCHROME2", "presentation_intent": None, "pixel_spacing_mm": [0.2, 0.2],
        "pixel_spacing_from": "PixelSpacing",
    } | changed  # fmt: skip


def stored(values: NDArray[Any], bits: int, header: pydicom.Dataset | None = None) -> StoredFilm:
    return StoredFilm(values, bits, np.zeros(values.shape, np.bool_), header)


def task(*files: tuple[Path, dict[str, Any]], max_side: int = 64) -> ShardTask:
    return ShardTask("train-000000", "train", [(str(path), row) for path, row in files], max_side, "c" * 64, "i" * 64)


@pytest.mark.parametrize(
    ("bits", "lowest", "highest", "expected"),
    [(10, 0, 1023, (10, 0, 0)), (15, 0, 32767, (15, 0, 0)), (16, 0, 65535, (15, 0, 1)), (16, 0, 4095, (15, 0, 0)),
     (12, -2048, 2047, (12, 2048, 0)), (16, -32768, 32767, (15, 32768, 1)), (16, -1000, 3000, (15, 16384, 0))],
)  # fmt: skip
def test_shard_values_have_at_most_15_bits_and_lose_none_that_fits(
    bits: int, lowest: int, highest: int, expected: tuple[int, int, int]
) -> None:
    kind = np.int16 if lowest < 0 else np.uint16
    film = stored(np.linspace(lowest, highest, 400).reshape(20, 20).astype(kind), bits, pydicom.Dataset())
    values = value_range(film)
    assert (values.bits, values.offset, values.shift) == expected
    shard = to_shard_values(film, values)
    assert int(shard.max()) < 2**values.bits
    back = values.stored()[shard]
    assert np.abs(back - film.values).max() <= (1 if values.shift else 0)


def test_deep_png_keeps_its_declared_range() -> None:
    values = value_range(stored(np.arange(400, dtype=np.uint16).reshape(20, 20), 16))
    assert (values.bits, values.shift) == (15, 1)


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [((3000, 2000), 1536, (1536, 1024)), ((2000, 3001), 1000, (666, 1000)), ((500, 400), 1536, (500, 400)),
     ((5000, 400), "native", (5000, 400)), ((4000, 16), 64, (64, 1))],
)  # fmt: skip
def test_films_keep_their_aspect_and_are_never_enlarged(size: Any, max_side: Any, expected: Any) -> None:
    assert shrunk_size(*size, max_side) == expected


def test_shrinking_is_the_area_mean() -> None:
    values = anatomy("area", 96, 64)
    none = np.zeros(values.shape, np.bool_)
    blocks = values.reshape(24, 4, 16, 4).mean(axis=(1, 3))
    assert np.array_equal(shrink(values, none, 0, (24, 16)), np.rint(blocks))
    assert np.array_equal(shrink(values, none, 0, values.shape), values)


def test_padding_does_not_blend_into_the_film() -> None:
    values = np.full((90, 90), 1000, np.uint16)
    hidden = np.zeros(values.shape, np.bool_)
    hidden[:, 50:], values[:, 50:] = True, 60_000 // 2
    shrunk = shrink(values, hidden, 4095, (40, 40))
    assert set(np.unique(shrunk)) == {1000, 4095}
    assert shrunk[0, 21] == 1000 and shrunk[0, 23] == 4095


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_on_display_whatever_the_polarity(photometric: str, tmp_path: Path) -> None:
    values = anatomy("padded", 80, 80)
    values[:, :20] = 4095
    path = tmp_path / "film.dcm"
    write_film(path, values=values, photometric=photometric, window=(2048, 4096), PixelPaddingValue=4095)
    film = decode_file(path.read_bytes(), facts(path))
    sample = make_sample(film, facts(path), split="train", max_side=40)
    shown = apply_display(decode_film(sample.film, bits=12), sample.sidecar.display)
    assert (shown[:, :10] == 0).all() and shown[:, 10:].max() > 30_000


def test_sidecar_describes_the_film_in_the_shard(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    write_film(path, values=anatomy("spacing", 96, 80), window=(2048, 4096))
    film = decode_file(path.read_bytes(), facts(path))
    sample = make_sample(film, facts(path), split="val", max_side=48)
    sidecar = sample.sidecar
    assert (sidecar.rows, sidecar.columns, sidecar.source_rows, sidecar.source_columns) == (48, 40, 96, 80)
    assert sidecar.pixel_spacing_mm == (0.4, 0.4)
    assert decode_film(sample.film, bits=12).shape == (48, 40)
    assert sidecar.display.source == "window" and sidecar.split == "val"
    assert 0.2 < sample.content_fraction < 0.9
    area = cv2.resize(film.values.astype(np.float32), (40, 48), interpolation=cv2.INTER_AREA)
    assert np.array_equal(decode_film(sample.film, bits=12), np.rint(area))


def test_checksum_of_pixels_does_not_depend_on_the_encoding(tmp_path: Path) -> None:
    def checksum(path: Path, **changed: str) -> str:
        row = facts(path, **changed)
        return make_sample(decode_file(path.read_bytes(), row), row, split="train", max_side=48).sidecar.pixel_sha256

    path, other, turned = (tmp_path / name for name in ("film.dcm", "other.dcm", "turned.dcm"))
    for place, syntax in ((path, "1.2.840.10008.1.2.1"), (other, "1.2.840.10008.1.2.2")):
        write_film(place, values=anatomy("same"), transfer_syntax=syntax)
    write_film(turned, values=anatomy("same").reshape(80, 96))
    assert checksum(path) == checksum(other, transfer_syntax="1.2.840.10008.1.2.2") != checksum(turned)


def test_shard_holds_what_its_index_and_card_say(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    write_film(path, values=anatomy("one"))
    card = write_shard(task((path, facts(path))), tmp_path)
    assert isinstance(card, ShardCard)
    (row,) = pq.read_table(tmp_path / "train-000000.parquet").to_pylist()
    data = (tmp_path / "train-000000.tar").read_bytes()
    assert card.films == 1 and card.tar_size == len(data)
    sidecar = data[row["sidecar_offset"] :][: row["sidecar_size"]]
    assert sidecar == json.dumps(json.loads(sidecar), sort_keys=True, separators=(",", ":")).encode()
    assert Sidecar.model_validate_json(sidecar).key == KEY
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [f"{KEY}.j2c", f"{KEY}.json"]
    assert {(member.mtime, member.uid, member.gid, member.mode, member.uname) for member in members} == {
        (0, 0, 0, 0o644, "")
    }


def test_files_of_one_identifier_are_one_film_if_equal_else_none(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.dcm" for number in range(3)]
    for number, path in enumerate(paths):
        write_film(path, values=anatomy("twin"), sop="1.2.3", StudyTime=f"12000{number}")
    equal = write_shard(task(*((path, facts(path, row)) for row, path in enumerate(paths))), tmp_path)
    assert isinstance(equal, ShardCard)
    assert equal.films == 1 and equal.rejects == [(1, Reason.DUPLICATE), (2, Reason.DUPLICATE)]
    write_film(paths[2], values=anatomy("other"), sop="1.2.3")
    conflict = write_shard(task(*((path, facts(path, row)) for row, path in enumerate(paths))), tmp_path)
    assert isinstance(conflict, ShardCard)
    assert conflict.films == 0 and conflict.rejects == [(row, Reason.UID_CONFLICT) for row in range(3)]


def test_a_damaged_copy_does_not_reject_the_intact_film(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.dcm", tmp_path / "bad.dcm"
    for path in (good, bad):
        write_film(path, values=anatomy("twin"), sop="1.2.3")
    bad.write_bytes(bad.read_bytes()[:-500])
    card = write_shard(task((bad, facts(bad, 0)), (good, facts(good, 1))), tmp_path)
    assert isinstance(card, ShardCard)
    assert card.films == 1 and card.rejects == [(0, Reason.CORRUPT_PIXELS)]


def test_missing_and_changed_files_leave_the_shard_unfinished(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.dcm" for number in range(3)]
    for path in paths:
        write_film(path, values=anatomy(path.name))
    files = [(path, facts(path, row, key=f"{row:032x}")) for row, path in enumerate(paths)]
    paths[0].unlink()
    write_film(paths[2], values=anatomy("longer", 100, 100))
    result = write_shard(task(*files), tmp_path)
    assert result == Unfinished("train-000000", ((0, Reason.UNREADABLE_FILE), (2, Reason.CHANGED_SINCE_SCAN)))
    assert not list(tmp_path.glob("*train*"))


def test_a_failing_disk_leaves_no_shard_and_all_unreadable_files_are_reported(tmp_path: Path, monkeypatch: Any) -> None:
    paths = [tmp_path / f"{number}.dcm" for number in range(5)]
    for path in paths:
        write_film(path, values=anatomy(path.name))
    files = [(path, facts(path, row, key=f"{row:032x}")) for row, path in enumerate(paths)]
    whole, bad = shard_writer.open_regular, (str(paths[1]), str(paths[3]))

    def fail(path: str, **options: Any) -> Any:
        if path in bad:
            raise OSError(5, "Input/output error")
        return whole(path, **options)

    monkeypatch.setattr(shard_writer, "open_regular", fail)
    unreadable = Reason.UNREADABLE_FILE
    assert write_shard(task(*files), tmp_path) == Unfinished("train-000000", ((1, unreadable), (3, unreadable)))
    assert not list(tmp_path.glob("*train*"))


def test_no_card_of_other_inputs_is_left_next_to_a_new_tar(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "film.dcm"
    write_film(path, values=anatomy("film"))
    work = task((path, facts(path, 0)))
    write_shard(work, tmp_path)
    before = (tmp_path / "train-000000.tar").read_bytes()
    other = replace(work, inputs_sha256="o" * 64, files=[(str(path), {**work.files[0][1], "key": "f" * 32})])
    with monkeypatch.context() as patch:  # as if killed after the tar: of equal size, beside the old table
        patch.setattr(shard_writer, "encode_parquet", lambda table: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_shard(other, tmp_path)
    assert len((tmp_path / "train-000000.tar").read_bytes()) == len(before)
    assert (tmp_path / "train-000000.tar").read_bytes() != before and not (tmp_path / "train-000000.json").exists()


def test_a_file_that_changes_while_it_is_read_is_rejected(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "film.dcm"
    write_film(path, values=anatomy("film"))
    work = task((path, {**facts(path, 0), "mtime_ns": path.stat().st_mtime_ns}))

    def missing(task: Any, watch: Any) -> tuple[()]:
        os.utime(path, ns=(0, 0))  # right after its status was read
        return ()

    monkeypatch.setattr(shard_writer, "_changed_files", missing)
    assert write_shard(work, tmp_path) == Unfinished("train-000000", ((0, Reason.CHANGED_SINCE_SCAN),))


def test_film_and_display_go_through_decode_as_images_do(tmp_path: Path) -> None:
    from PIL import Image

    grey = anatomy("png", bits=8).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "film.png")
    film = decode((tmp_path / "film.png").read_bytes(), source="png")
    sample = make_sample(film, facts(tmp_path / "film.png"), split="train", max_side=1000)
    assert sample.sidecar.display.source == "declared_range"
    shown = apply_display(decode_film(sample.film, bits=8), sample.sidecar.display)
    assert np.array_equal(shown, grey.astype(np.uint16) * 257)


def test_a_sparse_file_costs_its_row_only(tmp_path: Path) -> None:
    write_film(tmp_path / "film", values=anatomy(1))
    write_film(tmp_path / "long", values=anatomy(2))
    os.truncate(tmp_path / "long", 30 * 2**30)
    long = tmp_path / "long", facts(tmp_path / "long", 0)
    card = write_shard(task(long, (tmp_path / "film", facts(tmp_path / "film", 1, key="1" * 32))), tmp_path)
    assert isinstance(card, ShardCard) and card.films == 1 and card.rejects == [(0, "too_large")]


def test_memory_that_does_not_suffice_to_read_a_file_costs_its_row(tmp_path: Path, monkeypatch: Any) -> None:
    def exhausted(*_: Any) -> bytes:
        raise MemoryError

    write_film(tmp_path / "film", values=anatomy(1))
    monkeypatch.setattr(shard_writer, "_read", exhausted)
    outcome = write_shard(task((tmp_path / "film", facts(tmp_path / "film", 3))), tmp_path)
    assert isinstance(outcome, Unfinished) and outcome.failed == ((3, Reason.DECODER_CRASHED),)


def test_the_time_of_a_file_is_that_of_all_its_frames(tmp_path: Path) -> None:
    class Clock:
        def __init__(self) -> None:
            self.begun: list[int] = []

        def begins(self, file: int) -> None:
            self.begun.append(file)

        def ends(self, films: int, refused: int) -> None:
            self.begun.append(-1)

    values = np.stack([anatomy(number) for number in range(3)])
    write_film(tmp_path / "film", values=values[0], PixelData=values.tobytes(), NumberOfFrames=3, Rows=values.shape[1])
    clock = Clock()
    write_shard(task((tmp_path / "film", facts(tmp_path / "film", 5, frames=3))), tmp_path, clock)
    assert clock.begun == [5, -1, 5, -1]  # once to look whether it has changed, once to read it


@pytest.mark.parametrize(
    "changed",
    [
        {"sop": uid("another object")},
        {"patient_id": "P2"},
        {"StudyInstanceUID": uid("another study")},
        {"BurnedInAnnotation": "YES"},
        {"sop_class": DX_FOR_PROCESSING},
        {"sop_class": SECONDARY_CAPTURE, "ConversionType": "SI"},
        {"Rows": 48, "Columns": 160},
    ],
)
def test_another_film_under_a_scanned_row_is_not_published(changed: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "film"
    film = write_film(path, values=anatomy(1), sop=uid("object"))
    row = read_header(ArchiveFile(str(path), "film"), Pseudonyms(b"0" * 16), ReadSettings()).facts
    known = {name: row.get(name) for name in ("marks", "frames", "rows", "columns", *IDENTIFIERS)}
    scanned = facts(path, 3, patient_id=film.PatientID) | known
    assert isinstance(write_shard(task((path, scanned)), tmp_path), ShardCard)
    write_film(path, **{"values": anatomy(1), "sop": uid("object"), "study": "study 1", **changed})
    replaced = scanned | {"file_size": path.stat().st_size}  # as if size and time were those of the scan
    outcome = write_shard(task((path, replaced)), tmp_path)
    assert outcome == Unfinished("train-000000", ((3, Reason.CHANGED_SINCE_SCAN),))
