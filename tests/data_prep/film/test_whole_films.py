"""A film whose pixels are all in the file is read, however its writer has erred around them."""

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.filewriter import write_file_meta_info

from data_prep.archive.file_facts import FileRow
from data_prep.archive.file_listing import list_files, path_of_text, path_text
from data_prep.archive.header_pool import read_header
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.errors import FilmReject, Reason
from data_prep.film.decode import StoredFilm, decode
from tests.builders.dicom_builder import write_film

LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K, RLE, BASELINE = (
    f"1.2.840.10008.1.2.{end}" for end in ("4.70", "4.80", "4.90", "4.201", "5", "4.50")
)
EXPLICIT, BIG_ENDIAN, DEFLATED = (f"1.2.840.10008.1.2.{end}" for end in ("1", "2", "1.99"))
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, tag) for tag in (0xE000, 0xE00D, 0xE0DD))
PIXEL_TAG = b"\xe0\x7f\x10\x00"
OPEN = b"\xff\xff\xff\xff"
END = SEQUENCE_END + bytes(4)


def film(seed: int = 1, bits: int = 12) -> NDArray[np.uint16]:
    """[64, 48] a bump with noise."""
    y, x = np.mgrid[:64, :48]
    bump = 0.1 + 0.7 * np.exp(-(((x - 24) / 12) ** 2) - ((y - 32) / 20) ** 2)
    noise = np.random.default_rng(seed).normal(0, 0.01, bump.shape)
    return np.asarray(np.clip((bump + noise) * 2**bits, 1, 2**bits - 2), np.uint16)


STREAM = imagecodecs.ljpeg_encode(film())


def items(*fragments: bytes, table: bytes = b"") -> bytes:
    parts = (table, *(part + bytes(len(part) % 2) for part in fragments))
    return b"".join(ITEM + struct.pack("<I", len(part)) + part for part in parts)


def native(path: Path, values: NDArray[Any] | None = None, **attributes: Any) -> bytes:
    write_film(path, values=film() if values is None else values, sop="1.2.3", **attributes)
    return path.read_bytes()


def encapsulated(path: Path, value: bytes, syntax: str, end: bytes = END, **attributes: Any) -> bytes:
    data = _with_syntax(native(path, **attributes), syntax)
    return data[: data.rindex(PIXEL_TAG)] + PIXEL_TAG + b"OB\0\0" + OPEN + value + end


def _with_syntax(data: bytes, syntax: str) -> bytes:
    length = int.from_bytes(data[140:144], "little")
    from pydicom import dcmread

    meta = dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta
    meta.TransferSyntaxUID = syntax
    head = io.BytesIO()
    write_file_meta_info(head, meta)
    return bytes(128) + b"DICM" + head.getvalue() + data[144 + length :]


def read(path: Path, data: bytes) -> tuple[FileRow, StoredFilm | None]:
    """What the scan makes of a file, and the film."""
    path.write_bytes(data)
    (file,) = list_files([path])
    row = read_header(file, Pseudonyms(b"0" * 16), ReadSettings())
    if row.reason is not None:
        return row, None
    frames = row.facts["frames"] or 1
    return row, decode(data, source="dicom", transfer_syntax=row.facts["transfer_syntax"], frames=frames)


def _before_pixels(data: bytes, inserted: bytes) -> bytes:
    at = data.rindex(PIXEL_TAG)
    return data[:at] + inserted + data[at:]


SEQUENCE = struct.pack("<HH", 0x2050, 0x0510) + b"SQ\0\0"
CONTENT = ITEM + OPEN + struct.pack("<HH", 0x0008, 0x0104) + b"LO\x04\0ABCD"
ITEM_STOP = ITEM_END + bytes(4)
HALF = len(STREAM) // 4 * 2


def _short_icon(data: bytes) -> bytes:
    """An icon with compressed pixels whose lengths are 24 bytes short, before the film's own pixels."""
    small = imagecodecs.ljpeg_encode(np.ascontiguousarray(film()[:16, :16]))
    value = struct.pack("<HH", 0x0028, 0x0010) + b"US\x02\0\x10\0" + PIXEL_TAG + b"OB\0\0" + OPEN + items(small) + END
    lengths = struct.pack("<I", len(value) - 16), struct.pack("<I", len(value) - 24)
    icon = struct.pack("<HH", 0x0088, 0x0200) + b"SQ\0\0" + lengths[0] + ITEM + lengths[1] + value
    at = data.index(PIXEL_TAG)
    return data[:at] + icon + data[at:]


FILES: dict[str, Callable[[Path], bytes]] = {
    "no delimiter": lambda path: encapsulated(path, items(STREAM), LOSSLESS, b""),
    "zeros for the delimiter": lambda path: encapsulated(path, items(STREAM), LOSSLESS, bytes(8)),
    "an item delimiter": lambda path: encapsulated(path, items(STREAM), LOSSLESS, ITEM_STOP),
    "an offset per fragment": lambda path: encapsulated(
        path, items(STREAM[:HALF], STREAM[HALF:], table=struct.pack("<2I", 0, 8 + HALF)), LOSSLESS, NumberOfFrames=1
    ),
    "fill bytes": lambda path: encapsulated(path, items(b"\xff" + STREAM), LOSSLESS),
    "damage behind the pixels": lambda path: native(path) + b"\xfa\xff\xfa\xffSQ\0\0" + OPEN,
    "no end of a sequence": lambda path: _before_pixels(native(path), SEQUENCE + OPEN + CONTENT + ITEM_STOP),
    "no end of an item": lambda path: _before_pixels(native(path), SEQUENCE + OPEN + CONTENT + END),
    "two ends": lambda path: _before_pixels(native(path), SEQUENCE + OPEN + CONTENT + (ITEM_STOP + END) * 2),
    "a sequence too long": lambda path: _before_pixels(
        native(path), SEQUENCE + struct.pack("<I", 400_000) + CONTENT + ITEM_STOP
    ),
    "a short icon": lambda path: _short_icon(native(path)),
    "a short icon, compressed": lambda path: _short_icon(encapsulated(path, items(STREAM), LOSSLESS)),
    "another prefix": lambda path: native(path).replace(b"DICM", b"XXXX", 1),
    "zeros before the preamble": lambda path: bytes(16) + native(path),
    "plain under deflated": lambda path: _with_syntax(native(path), DEFLATED),
    "no bits stored": lambda path: native(path, BitsStored=None, HighBit=None),
    "bits stored twice": lambda path: native(path, BitsStored=[12, 12]),
    "no photometric": lambda path: native(path, PhotometricInterpretation=None),
    "photometric with a blank": lambda path: native(path, PhotometricInterpretation="MONOCHROME 2"),
    "photometric without number": lambda path: native(path, PhotometricInterpretation="MONOCHROME"),
    "colours of one channel": lambda path: native(path, PhotometricInterpretation="RGB"),
    "no class": lambda path: _without_class(native(path)),
}


def _without_class(data: bytes) -> bytes:
    at = data.index(struct.pack("<HH", 0x0008, 0x0016))
    return data[:at] + data[at + 8 + int.from_bytes(data[at + 6 : at + 8], "little") :]


@pytest.mark.parametrize("make", FILES.values(), ids=FILES.keys())
def test_every_pixel_is_read(make: Callable[[Path], bytes], tmp_path: Path) -> None:
    row, found = read(tmp_path / "film", make(tmp_path / "film"))
    assert row.reason is None and found is not None
    assert np.array_equal(found.values, film()) and found.notes == []
    assert row.facts["photometric"] == "MONOCHROME2"


ENCODED = {
    LOSSLESS: STREAM,
    JPEG_LS: imagecodecs.jpegls_encode(film()),
    JPEG_2000: imagecodecs.jpeg2k_encode(film(), level=0, reversible=True, codecformat="j2k"),
    HTJ2K: bytes(imagecodecs.htj2k_encode(film(), reversible=True)),
}


@pytest.mark.parametrize("written", ENCODED)
@pytest.mark.parametrize("declared", [*ENCODED, EXPLICIT, RLE])
def test_a_stream_says_itself_what_it_is(written: str, declared: str, tmp_path: Path) -> None:
    _, found = read(tmp_path / "film", encapsulated(tmp_path / "film", items(ENCODED[written]), declared))
    assert found is not None and np.array_equal(found.values, film())
    agrees = declared == written or (declared, written) == (JPEG_2000, HTJ2K)
    assert found.notes == ([] if agrees else ["syntax_contradicted"])


@pytest.mark.parametrize("declared", [LOSSLESS, RLE, JPEG_LS, HTJ2K])
def test_native_pixels_under_a_compressed_syntax_are_read(declared: str, tmp_path: Path) -> None:
    _, found = read(tmp_path / "film", _with_syntax(native(tmp_path / "film"), declared))
    assert found is not None and np.array_equal(found.values, film()) and found.notes == ["syntax_contradicted"]


def test_a_data_set_without_meta_information_is_asked_for_its_stream(tmp_path: Path) -> None:
    data = encapsulated(tmp_path / "film", items(STREAM), LOSSLESS)
    bare = data[144 + int.from_bytes(data[140:144], "little") :]
    _, found = read(tmp_path / "film", bare)
    assert found is not None and np.array_equal(found.values, film()) and found.notes == ["syntax_contradicted"]


@pytest.mark.parametrize("end", [b"", b"\0\0"])
@pytest.mark.parametrize("codec", ["lossless", "baseline", "jpeg_ls"])
def test_a_missing_end_marker_is_no_loss(codec: str, end: bytes, tmp_path: Path) -> None:
    values = film(bits=8).astype(np.uint8) if codec == "baseline" else film()
    stream, syntax = {
        "lossless": (STREAM, LOSSLESS),
        "baseline": (imagecodecs.jpeg8_encode(film(bits=8).astype(np.uint8), level=95), BASELINE),
        "jpeg_ls": (ENCODED[JPEG_LS], JPEG_LS),
    }[codec]
    assert stream.endswith(b"\xff\xd9")
    bits = {"values": values, "bits": 8} if codec == "baseline" else {}
    whole = read(tmp_path / "film", encapsulated(tmp_path / "film", items(stream), syntax, **bits))[1]
    _, found = read(tmp_path / "film", encapsulated(tmp_path / "film", items(stream[:-2] + end), syntax, **bits))
    assert found is not None and whole is not None
    assert np.array_equal(found.values, whole.values) and found.notes == ["image_end_missing"]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("syntax", [LOSSLESS, JPEG_LS])
def test_a_truncated_stream_is_still_refused(syntax: str, share: float, tmp_path: Path) -> None:
    stream = ENCODED[syntax][: int(share * len(ENCODED[syntax]))]
    with pytest.raises(FilmReject, match=Reason.CORRUPT_PIXELS):
        read(tmp_path / "film", encapsulated(tmp_path / "film", items(stream), syntax))


def test_further_frames_than_the_header_names_are_left_out_and_told(tmp_path: Path) -> None:
    two = native(tmp_path / "film", PixelData=film().tobytes() + film(2).tobytes())
    padded = native(tmp_path / "film", PixelData=film().tobytes() + bytes(film().nbytes))
    streams = encapsulated(tmp_path / "film", items(STREAM, imagecodecs.ljpeg_encode(film(2))), LOSSLESS)
    for data in (two, padded, streams):
        _, found = read(tmp_path / "film", data)
        assert found is not None and np.array_equal(found.values, film()) and found.notes == ["frames_ignored"]


def test_pixels_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    data = native(tmp_path / "film")
    with pytest.raises(FilmReject, match=Reason.CORRUPT_PIXELS):
        read(tmp_path / "film", data[:-200])
    with pytest.raises(FilmReject, match=Reason.CORRUPT_PIXELS):
        read(tmp_path / "film", encapsulated(tmp_path / "film", items(STREAM[:HALF]), LOSSLESS))


def test_words_of_two_bytes_are_exchanged_back_in_big_endian(tmp_path: Path) -> None:
    values = film(bits=8).astype(np.uint8)
    swapped = values.reshape(-1).view("<u2").byteswap().tobytes()
    write_film(tmp_path / "film", values=values, bits=8, transfer_syntax=BIG_ENDIAN, sop="1.2.3")
    data = (tmp_path / "film").read_bytes()
    at = data.rindex(b"\x7f\xe0\x00\x10")
    head, value = data[:at], data[at:]
    length = value[8:12]
    _, found = read(tmp_path / "film", head + value[:4] + b"OW\0\0" + length + swapped)
    assert found is not None and np.array_equal(found.values, values)
    _, found = read(tmp_path / "film", head + value[:4] + b"OB\0\0" + length + values.tobytes())
    assert found is not None and np.array_equal(found.values, values)


@pytest.mark.parametrize("name", [b"r\xf6ntgen\xff.dcm", b"f\xf6lder\xff/film.dcm"])
def test_a_name_that_is_not_utf8_is_read(name: bytes, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/archive/" + name
    place = Path(os.fsdecode(path))
    place.parent.mkdir(parents=True)
    place.write_bytes(native(tmp_path / "film"))
    (listed,) = list_files([tmp_path / "archive"])
    row = read_header(listed, Pseudonyms(b"0" * 16), ReadSettings())
    assert row.reason is None
    assert os.fsencode(path_of_text(path_text(listed.path))) == path
    path_text(listed.path).encode()  # a table can hold it


def test_hidden_files_have_a_reason_of_their_own(tmp_path: Path) -> None:
    native(tmp_path / "archive" / ".export" / "film.dcm")
    (listed,) = list_files([tmp_path / "archive"])
    assert read_header(listed, Pseudonyms(b"0" * 16), ReadSettings()).reason == Reason.HIDDEN
