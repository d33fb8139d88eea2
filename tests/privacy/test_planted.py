"""Identifying values in every place of a file that can hold one do not occur in any public byte."""

import base64
import io
import re
import struct
import tarfile
import zlib
from datetime import date
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin
from pydicom import config
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import ImplicitVRLittleEndian

from data_prep.cli.main import main
from data_prep.planning.settings import ShardSettings
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.sharding.merged_tables import DEIDENTIFICATION
from data_prep.sharding.shard import shard
from data_prep.verification.audit import audit
from tests.builders.dicom_builder import DX_FOR_PRESENTATION, write_film
from tests.builders.planted.planted_person import encodings_of
from tests.builders.private_builder import anatomy

pytestmark = pytest.mark.usefixtures("checks_in_this_process")

NAME = "Zwiebelmüller^Xanthippe"
WORD = "ZWIEBELMUELLER"
NUMBER = 1953071477
SHORT_NUMBER = 27_183
FLOAT = 195307.14
DAY = date(1953, 7, 14)
UID = "2.25.195307147711953071477"
BYTES = f"{WORD} geb. 14.07.1953".encode()
VALUES: dict[str, Any] = {
    "AE": f"{WORD}X"[:16], "AS": "071Y", "AT": 0x19530714, "CS": f"{WORD} 53", "DA": "19530714", "DS": "195307.14",
    "DT": "19530714071953", "FL": FLOAT, "FD": FLOAT, "IS": str(NUMBER), "LO": f"{WORD} im Wald", "LT": f"Frau {NAME}",
    "OB": BYTES, "OD": struct.pack("<d", FLOAT), "OF": struct.pack("<f", FLOAT), "OL": struct.pack("<I", NUMBER),
    "OV": struct.pack("<Q", NUMBER), "OW": BYTES + b" " * (len(BYTES) % 2), "PN": NAME, "SH": f"{WORD} 7"[:16],
    "SL": NUMBER, "SS": SHORT_NUMBER, "ST": f"Anruf bei {WORD}", "SV": NUMBER, "TM": "071953.1953",
    "UC": f"{WORD} {UID}", "UI": UID, "UL": NUMBER, "UN": BYTES, "UR": f"http://{WORD}.example/{NUMBER}",
    "US": SHORT_NUMBER, "UT": f"{WORD} {NAME} {UID}", "UV": NUMBER,
}  # fmt: skip
"""One value per VR except SQ. Numbers of a few bytes are searched for as text only: pixels hold them by chance."""
STRUCTURE = re.compile(
    "SOPClassUID|TransferSyntax|SpecificCharacterSet|Modality|ConversionType|BurnedIn|SecondaryCapture|NumberOfFrames"
    "|ImageType|PresentationIntentType|PatientSpeciesDescription|^Overlay|TimezoneOffset|^Shutter|Shutter$|Spacing|VOILUT|ModalityLUT"
)
"""Attributes that decide whether a file is a film, of a human, and how it is displayed."""
PLAIN = [
    *(text.encode(code) for text in (NAME, "Zwiebelmüller", WORD, UID, "14.07.1953", str(NUMBER), "195307.14")
      for code in ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")),
    *(struct.pack(code, number) for code, number in (("<Q", NUMBER), (">Q", NUMBER), ("<d", FLOAT), (">d", FLOAT))),
    b"19530714", b"1953-07-14", b"071953", DAY.isoformat().encode(), str((DAY - date(1970, 1, 1)).days).encode(),
]  # fmt: skip


IDENTIFIERS = sorted({*PLAIN, *(encoded for value in PLAIN if len(value) >= 8 for encoded in encodings_of(value))})


def standard_attributes() -> dict[str, Any]:
    """Collect the attributes of the DICOM dictionary that may hold a value, except STRUCTURE."""
    found: dict[str, Any] = {}
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        is_public = 0x0008 <= tag >> 16 <= 0x0088 and tag >> 16 != 0x0028 and keyword and not retired
        if is_public and vr in VALUES and not STRUCTURE.search(keyword):
            found[keyword] = VALUES[vr]
    return found


def nest(depth: int) -> Dataset:
    """Make a data set with a private element of every VR, inside ``depth`` nested sequences."""
    item = Dataset()
    block = item.private_block(0x0019, f"{WORD} PRIVATE", create=True)
    for number, (vr, value) in enumerate(VALUES.items()):
        block.add_new(number + 1, vr, value)
    item.PatientName, item.PatientComments, item.TextValue = NAME, f"see {UID}", WORD
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = [item]
        outer.private_block(0x0021, "NEST", create=True).add_new(1, "SQ", [item])
        item = outer
    return item


def plant(film: Dataset) -> None:
    """Add private elements, nested sequences, overlays, curves and undefined groups."""
    for depth in range(4):
        film.update({element.tag: element for element in nest(depth)})
    film.PatientSpeciesDescription = "Homo sapiens"  # breed and owner, which are planted too, say an animal
    film.OtherPatientIDsSequence = [nest(3)]
    for group in (0x6000, 0x6002):
        film.add_new((group, 0x0010), "US", film.Rows)
        film.add_new((group, 0x0011), "US", film.Columns)
        film.add_new((group, 0x0022), "LO", NAME)
        film.add_new((group, 0x0040), "CS", "G")
        film.add_new((group, 0x0050), "SS", [1, 1])
        film.add_new((group, 0x0100), "US", 1)
        film.add_new((group, 0x0102), "US", 0)
        film.add_new((group, 0x1500), "LO", WORD)
        film.add_new((group, 0x3000), "OW", (BYTES + b" ") * 40)
    film.add_new(0x50003000, "OB", BYTES)
    film.add_new(0x50000022, "LO", NAME)
    film.add_new(0xFFFCFFFC, "OB", BYTES)


def write_dicoms(archive: Path) -> None:
    folder = archive / NAME / f"{WORD}_19530714" / UID
    standard = standard_attributes()
    kinds = {vr for vr, _, _, _, keyword in DicomDictionary.values() if keyword in standard}
    assert kinds >= set(VALUES) - {"OL", "OV", "SV", "UV", "UN", "OD"}  # these are planted in private elements only
    with config.disable_value_validation():
        for number, syntax in enumerate((None, ImplicitVRLittleEndian)):
            options = {"transfer_syntax": syntax} if syntax else {}
            path = folder / f"{WORD}_{number}.dcm"
            attributes = {**standard, "SOPInstanceUID": f"{UID}.{number}"}
            film = write_film(
                path, values=anatomy(number), sop_class=DX_FOR_PRESENTATION, sop=f"{UID}.{number}", **options
            )
            for keyword, value in attributes.items():
                setattr(film, keyword, value)
            plant(film)
            film.PixelData += BYTES + b" " * (len(BYTES) % 2)
            film.preamble = BYTES.ljust(128, b" ")
            film.save_as(path)
        film.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
        film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"{UID}.2"
        frame = bytes(imagecodecs.jpeg8_encode(anatomy(2), lossless=True, predictor=1, bitspersample=12))
        segments = b"".join(
            marker + (len(BYTES) + 2).to_bytes(2, "big") + BYTES for marker in (b"\xff\xfe", b"\xff\xe1", b"\xff\xec")
        )
        film.PixelData = encapsulate([frame[:2] + segments + frame[2:]])
        film["PixelData"].VR = "OB"
        film["PixelData"].is_undefined_length = True
        film.save_as(folder / f"{WORD}_2.dcm", implicit_vr=False, little_endian=True)


def write_images(archive: Path) -> None:
    archive.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x013B], exif[0x010E], exif[0x9286] = NAME.encode(), WORD, f"ASCII\0\0\0{WORD}".encode()
    exif.get_ifd(0x8825)[1] = WORD
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>{NAME}</dc:creator></x:xmpmeta>'.encode()
    text_chunks = PngImagePlugin.PngInfo()
    text_chunks.add_text("Author", WORD)
    text_chunks.add_text("Comment", f"{WORD} {UID}", zip=True)
    text_chunks.add_itxt("Patient", NAME)
    text_chunks.add_itxt("Zipped", NAME, zip=True)
    text_chunks.add_itxt("XML:com.adobe.xmp", xmp.decode())
    pixels = [anatomy(name, bits=8).astype(np.uint8) for name in ("png", "jpeg")]
    Image.fromarray(pixels[0]).save(archive / f"{WORD}.png", pnginfo=text_chunks, exif=exif)
    written = io.BytesIO()
    Image.fromarray(pixels[1]).save(written, "JPEG", exif=exif, comment=BYTES, xmp=xmp, quality=95)
    data = written.getvalue()
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0" + BYTES
    data = data[:2] + b"\xff\xed" + (len(iptc) + 2).to_bytes(2, "big") + iptc + data[2:] + BYTES
    (archive / f"{WORD}.jpg").write_bytes(data)


def public_bytes(public: Path) -> dict[str, bytes]:
    """Read the whole folder: names, raw bytes, members, tables, and base64 texts after decoding."""
    found = {"names": "\n".join(str(path.relative_to(public)) for path in public.rglob("*")).encode()}
    for path in public.iterdir():
        data = path.read_bytes()
        found[path.name] = data
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            found[f"{path.name} read"] = repr((table.schema.metadata, table.to_pydict())).encode()
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                found[f"{path.name} headers"] = repr([member.get_info() for member in tar]).encode()
    for name, data in list(found.items()):
        packed = re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", data)
        for number, text in enumerate(packed):
            plain = np.frombuffer(base64.b64decode(text + b"=" * (-len(text) % 4)), np.uint8).tobytes()
            found[f"{name} unpacked {number}"] = plain + _inflated(plain)
    return found


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error:
        return b""


@pytest.mark.parametrize("source", ["dicom", "images"])
def test_no_planted_value_is_in_any_public_byte(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")
    archive, private, public = tmp_path / "archive", tmp_path / "private", tmp_path / "public"
    (write_dicoms if source == "dicom" else write_images)(archive)
    planted = b"".join(path.read_bytes() for path in archive.rglob("*") if path.is_file())
    assert all(value in planted for value in (WORD.encode(), BYTES))  # the archive holds them
    capfd.readouterr()
    summary = scan([archive], private, ScanSettings(workers=1))
    settings = ShardSettings.model_validate({"max_side": 64, "runtime": {"workers": 1, "isolated": False}})
    card = shard(private, public, settings)
    assert card.files.written == {"dicom": 3, "images": 2}[source], card.reasons
    report = audit(public, privates=[private])
    assert report.problems == [] and report.searched
    printed = "".join(capfd.readouterr()) + str(summary) + str(card) + str(report)
    for name, data in (public_bytes(public) | {"printed": printed.encode()}).items():
        assert found_in(data) == [], name
    manifest = pq.read_table(private / "manifest.parquet")
    assert found_in(repr(manifest.to_pydict()).encode()) == []


def test_identifiers_are_found_in_every_encoding() -> None:
    assert found_in(b"xy" + base64.b64encode(f"so {WORD} said".encode())) != []
    assert found_in(f"to {UID.encode().hex()}".encode()) != [] and found_in(b"nothing") == []


def test_messages_about_damaged_files_hold_no_identifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Run every command on files that are cut, flipped, missing or changed, in worker processes."""
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")
    archive, private, public = (str(tmp_path / name) for name in ("archive", "private", "public"))
    write_dicoms(tmp_path / "archive")
    whole = sorted((tmp_path / "archive").rglob("*.dcm"))
    for number, path in enumerate(whole):
        data = bytearray(path.read_bytes())
        for cut in (400, len(data) // 3, len(data) - 200):
            path.with_name(f"{WORD}_cut{number}_{cut}.dcm").write_bytes(data[:cut])
        data[200 : len(data) : 997] = bytes(len(range(200, len(data), 997)))
        path.with_name(f"{WORD}_flipped{number}.dcm").write_bytes(data)
    capfd.readouterr()
    shard_command = ["shard", private, "--out", public, "max_side=64", "runtime.workers=2"]
    assert main(["scan", archive, "--out", private, "workers=2"]) == 0
    whole[0].rename(tmp_path / "away")
    assert main(shard_command) == 2  # a file is missing
    with whole[1].open("ab") as file:
        file.write(b"longer")
    assert main([*shard_command, "runtime.accept=[unreadable_file]"]) == 2  # another has changed
    accept = "runtime.accept=[unreadable_file,changed_since_scan]"
    assert main([*shard_command, accept, "runtime.max_reject_fraction=1"]) == 0
    (tmp_path / "away").rename(whole[0])
    assert main(["append", private, "--out", public, "--reason", "unreadable_file"]) in (0, 3)
    assert main(["audit", public, "--private", private]) == 0
    tar = next(Path(public).glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-600])
    assert main(["verify", public]) != 0
    table = tmp_path / "labels.csv"
    table.write_text(f"path,label,value\n{WORD}_0.dcm,fracture,{WORD}\n")
    assert main(["label", private, "--labels", str(table), "--out", public]) == 2
    printed = "".join(capfd.readouterr())
    assert "manifest row" in printed and found_in(printed.encode()) == []


def found_in(data: bytes) -> list[bytes]:
    lower = data.lower()
    return [identifier for identifier in IDENTIFIERS if identifier.lower() in lower]


def test_deidentification_codes_are_those_of_the_standard() -> None:
    """Compare profile and options with CID 7050 of pydicom; no option contradicts another."""
    method = codes.cid7050
    standard = {getattr(method, name).value: getattr(method, name).meaning for name in method.dir()}
    assert DEIDENTIFICATION.items() <= standard.items()
    assert "113100" in DEIDENTIFICATION and not {"113106", "113107"} <= set(DEIDENTIFICATION)
