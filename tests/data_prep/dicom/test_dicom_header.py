"""Headers with too many elements, deep nesting, long values or deflated data need little time and memory."""

import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

import data_prep.dicom.dicom_header as bounds
from data_prep.archive.dicom_file import read_dicom
from data_prep.archive.file_facts import FileRow
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.dicom.jpeg_markers import read_image_size
from data_prep.errors import FilmReject, Reason
from data_prep.film.decode import decode
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy
from tests.data_prep.film.test_decode import saved

HEAD = 2**16
_ITEM, _ITEM_END, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
_OPEN = b"\xff\xff\xff\xff"
_SEQUENCE = struct.pack("<HH2sxx", 0x0008, 0x1115, b"SQ") + _OPEN


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    long = vr in (b"OB", b"UN", b"UT")
    return struct.pack("<HH2s", group, number, vr) + struct.pack("<xxI" if long else "<H", len(value)) + value


def many(count: int) -> bytes:
    """Empty private elements, all different."""
    return b"".join(
        element(0x0009 + 2 * (place // 0xE000), 0x1000 + place % 0xE000, b"LO", b"") for place in range(count)
    )


def nested(depth: int) -> bytes:
    return (_SEQUENCE + _ITEM + _OPEN) * depth + (_ITEM_END + bytes(4) + _SEQUENCE_END + bytes(4)) * depth


HOSTILE: dict[str, Callable[[], bytes]] = {
    "elements": lambda: many(20_000),
    "elements of an item": lambda: _SEQUENCE + _ITEM + _OPEN + many(25_000) + _ITEM_END + bytes(4),
    "zeros in an item": lambda: _SEQUENCE + _ITEM + _OPEN + bytes(2**20),
    "depth": lambda: nested(20_000),
    "items": lambda: _SEQUENCE + (_ITEM + bytes(4)) * 100_000 + _SEQUENCE_END + bytes(4),
    "length": lambda: struct.pack("<HH2sxxI", 0x0009, 0x1001, b"OB", 0xFFFFFFF0),
    "closed depth": lambda: b"".join(
        struct.pack("<HH2sxxI", 0x0008, 0x1115, b"SQ", 0x7FFFFF00) + _ITEM + struct.pack("<I", 0x7FFFFE00)
        for _ in range(5000)
    ),
}


def parts(folder: Path) -> tuple[bytes, bytes, bytes]:
    """A film: the bytes up to the first element of its data set, that element, and the rest."""
    write_film(folder / "film.dcm", values=anatomy("film"))
    data = (folder / "film.dcm").read_bytes()
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    return data[:start], data[start:start], data[start:]


def scanned(path: Path) -> FileRow:
    data = path.read_bytes()
    return read_dicom(path, data[:HEAD], len(data), Pseudonyms(SECRET.encode()))


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_fail_early(kind: str, deflated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_READS", 20_000)
    meta, _, rest = parts(tmp_path)
    body = HOSTILE[kind]() + rest
    if deflated:
        packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        uid = DeflatedExplicitVRLittleEndian.encode()
        plain = b"1.2.840.10008.1.2.1\0"
        assert plain in meta
        place = meta.index(plain) - 2
        grown = meta[:place] + struct.pack("<H", len(uid)) + uid + meta[place + 2 + len(plain) :]
        length = struct.unpack_from("<I", meta, 140)[0] + len(grown) - len(meta)
        meta = grown[:140] + struct.pack("<I", length) + grown[144:]
        body = packer.compress(body) + packer.flush()
    path = tmp_path / "hostile.dcm"
    path.write_bytes(meta + body)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = scanned(path)
    assert (row.source, row.reason) == ("dicom", Reason.UNREADABLE_HEADER), kind
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB


def test_limits_allow_headers_of_real_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta, _, rest = parts(tmp_path)
    for ordinary in (many(2_000), nested(60), _SEQUENCE + (_ITEM + bytes(4)) * 5000 + _SEQUENCE_END + bytes(4)):
        path = tmp_path / "ordinary.dcm"
        path.write_bytes(meta + ordinary + rest)
        assert scanned(path).reason is None
    monkeypatch.setattr(bounds, "MAX_READS", 1000)
    assert scanned(path).reason is Reason.UNREADABLE_HEADER


def test_deep_nesting_does_not_crash_the_decoder(tmp_path: Path) -> None:
    meta, _, rest = parts(tmp_path)
    with pytest.raises(FilmReject) as caught:
        decode(meta + nested(20_000) + rest, source="dicom", transfer_syntax="1.2.840.10008.1.2.1")
    assert caught.value.reason is Reason.CORRUPT_PIXELS


def test_deflated_bomb_is_read_no_further_than_a_header(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", values=anatomy("film"))
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    film.PixelData = bytes(2**27)
    path = tmp_path / "bomb.dcm"
    path.write_bytes(saved(film))
    assert path.stat().st_size < 2**19
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert scanned(path).reason is None  # its header is a film's; what follows is judged when it is decoded
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16
    with pytest.raises(FilmReject) as caught:
        decode(path.read_bytes(), source="dicom", transfer_syntax=DeflatedExplicitVRLittleEndian)
    assert caught.value.reason is Reason.CORRUPT_PIXELS


@pytest.mark.parametrize(
    "fields",
    [{7: 0xFFFFFF00}, {8: 1}, {5: 0}, {5: 1, 6: 1}],
    ids=["x of the tiles behind the image", "y of the tiles behind the image", "no width", "240,000 tiles"],
)
def test_a_codestream_whose_tiles_cannot_contain_the_image_is_refused(fields: dict[int, int]) -> None:
    """OpenJPH would search the first tile without end."""
    values = anatomy("tiles", 400, 600)
    for encoded in (
        imagecodecs.htj2k_encode(values, reversible=True),
        imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k"),
    ):
        assert read_image_size(encoded) == (400, 600)
        stream = bytearray(encoded)
        for field, value in fields.items():
            place = stream.index(b"\xff\x4f\xff\x51") + 4 + 4 * field
            stream[place : place + 4] = value.to_bytes(4, "big")
        with pytest.raises(ValueError, match="tile"):
            read_image_size(bytes(stream))
