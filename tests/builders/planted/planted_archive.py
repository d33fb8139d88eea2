"""An archive whose films carry a fictitious person each, every one in another place of a file.

``DICOM_PLACES`` and ``IMAGE_PLACES`` list the places; :func:`write_planted_archive` writes a film, or a few, for each.
"""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, ImageCms, PngImagePlugin
from pydicom import config
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.builders.dicom_builder import DX_FOR_PRESENTATION, uid, write_film
from tests.builders.planted.planted_person import Person, person
from tests.builders.private_builder import anatomy

STRUCTURE = re.compile(
    "SOPClassUID|TransferSyntax|SpecificCharacterSet|Modality|ConversionType|BurnedIn|SecondaryCapture|NumberOfFrames"
    "|ImageType|PresentationIntentType|PatientSpeciesDescription|Overlay|TimezoneOffset|Shutter|Spacing|VOILUT"
    "|ModalityLUT|PatientBreed|ResponsiblePerson|PatientSexNeutered"
)
"""Parts of keywords that decide whether a file is a film, of a human, and how it is displayed: planted one by one."""
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def values_of(who: Person) -> dict[str, Any]:
    """A value that identifies the person, for every VR except SQ."""
    family, data = who.family, who.text.encode()
    data += b" " * (-len(data) % 8)
    number = int(who.number)
    return {
        "AE": family[:16], "AS": f"{who.number[:3]}Y", "CS": f"{family.upper()[:12]} 1"[:16],
        "DA": f"{who.birth:%Y%m%d}", "DS": who.number, "DT": f"{who.birth:%Y%m%d}071500", "FL": float(number),
        "FD": float(number), "IS": who.number, "LO": f"{who.given} {family} {who.number}", "LT": who.text, "OB": data,
        "OD": data, "OF": data, "OL": data, "OV": data, "OW": data, "PN": who.name, "SH": f"{family} 12"[:16],
        "SL": number, "ST": who.text, "SV": number, "TM": "071500", "UC": who.text, "UI": who.uid, "UL": number,
        "UN": data, "UR": f"http://{who.given}.example/{who.number}", "UT": who.text, "UV": number,
    }  # fmt: skip


def _standard(vr: str) -> Callable[[Dataset, Person], None]:
    """All attributes of a VR, in the groups of patients, studies, devices and acquisitions."""

    def plant(film: Dataset, who: Person) -> None:
        for tag, (own, _, _, _, keyword) in DicomDictionary.items():
            is_taken = own == vr and 0x0008 <= tag >> 16 <= 0x4010 and tag >> 16 != 0x0028 and keyword
            if is_taken and not STRUCTURE.search(keyword):
                setattr(film, keyword, values_of(who)[vr])

    return plant


def _set(**attributes: Callable[[Person], Any]) -> Callable[[Dataset, Person], None]:
    def plant(film: Dataset, who: Person) -> None:
        for keyword, value in attributes.items():
            setattr(film, keyword, value(who))

    return plant


def _private(film: Dataset, who: Person) -> None:
    block = film.private_block(0x0019, f"{who.family} PRIVATE", create=True)
    for number, (vr, value) in enumerate(values_of(who).items()):
        block.add_new(number + 1, vr, value)


def _nested(depth: int) -> Callable[[Dataset, Person], None]:
    def plant(film: Dataset, who: Person) -> None:
        item = Dataset()
        _private(item, who)
        item.PatientName, item.TextValue, item.PersonName = who.name, who.text, who.name
        for _ in range(depth):
            outer = Dataset()
            outer.ContentSequence = [item]
            outer.private_block(0x0021, "NEST", create=True).add_new(1, "SQ", [item])
            item = outer
        film.update({element.tag: element for element in item})

    return plant


def _overlay(film: Dataset, who: Person) -> None:
    for group in (0x6000, 0x601E):
        data = values_of(who)["OW"] * 40
        rows = {0x0010: film.Rows, 0x0011: film.Columns}
        for element, vr, value in [
            *((number, "US", size) for number, size in rows.items()), (0x0022, "LO", who.name), (0x0040, "CS", "G"),
            (0x0050, "SS", [1, 1]), (0x0100, "US", 1), (0x0102, "US", 0), (0x1500, "LO", who.family),
            (0x3000, "OW", data), (0x4000, "LT", who.text),
        ]:  # fmt: skip
            film.add_new((group, element), vr, value)


def _curves(film: Dataset, who: Person) -> None:
    for element, vr in ((0x0022, "LO"), (0x0040, "SH"), (0x2500, "LO"), (0x3000, "OB")):
        film.add_new((0x5000, element), vr, values_of(who)[vr])


def _icon(film: Dataset, who: Person) -> None:
    icon = Dataset()
    icon.Rows = icon.Columns = 16
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.BitsAllocated = icon.BitsStored = 8
    icon.HighBit, icon.PixelRepresentation = 7, 0
    icon.PixelData = (values_of(who)["OB"] * 8)[:256]
    icon["PixelData"].VR = "OB"
    film.IconImageSequence = [icon]


def _explanations(film: Dataset, who: Person) -> None:
    """Texts of the structures that say how a film is displayed."""
    film.WindowCenter, film.WindowWidth = [2048, 1000], [4096, 1500]
    film.WindowCenterWidthExplanation = [who.given, who.family]
    film.VOILUTFunction = "LINEAR"
    film.PixelSpacingCalibrationDescription = film.ReasonForTheAttributeModification = who.text[:60]
    film.LossyImageCompressionMethod = film.PixelPresentation = who.family.upper()[:16]


def _lookup(film: Dataset, who: Person) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = np.arange(4096, dtype=np.uint16).tobytes()
    table.LUTExplanation = who.text[:64]
    table.private_block(0x0029, who.family, create=True).add_new(1, "LO", who.name)
    film.VOILUTSequence = [table]


def _rescale(film: Dataset, who: Person) -> None:
    film.RescaleSlope, film.RescaleIntercept, film.RescaleType = 1, 0, who.family[:16]
    film.ModalityLUTSequence = []
    film.PresentationLUTShape = who.family.upper()[:16]
    film.ShutterShape, film.ShutterLeftVerticalEdge = who.family.upper()[:16], who.number
    film.PixelSpacing, film.ImagerPixelSpacing = [who.number, who.number], [who.number, who.number]


def _profile(film: Dataset, who: Person) -> None:
    film.add_new(0x00282000, "OB", values_of(who)["OB"])
    film.add_new(0x00282002, "CS", who.family.upper()[:16])


def _behind(film: Dataset, who: Person) -> None:
    film.PixelData += values_of(who)["OB"]
    signature = Dataset()
    signature.MAC, signature.DigitalSignatureUID = values_of(who)["OB"], who.uid
    film.add_new(0xFFFAFFFA, "SQ", [signature])
    film.add_new(0xFFFCFFFC, "OB", values_of(who)["OB"])


def _file_meta(film: Dataset, who: Person) -> None:
    film.preamble = values_of(who)["OB"][:128].ljust(128, b" ")
    film.file_meta.SourceApplicationEntityTitle = who.family[:16]
    film.file_meta.ImplementationVersionName = who.given[:16]
    film.file_meta.ImplementationClassUID = film.file_meta.PrivateInformationCreatorUID = who.uid
    film.file_meta.PrivateInformation = values_of(who)["OB"]


def _high_bytes(film: Dataset, who: Person) -> None:
    """Letters in the bytes above the stored bits."""
    film.BitsStored, film.HighBit = 8, 7
    values = np.frombuffer(film.PixelData, np.uint16) >> 4
    letters = np.resize(np.frombuffer(values_of(who)["OB"], np.uint8), values.shape).astype(np.uint16)
    letters[(np.arange(values.size) // 80) % 6 > 0] = 0
    film.PixelData = (values | letters << 8).tobytes()


def _encapsulated(film: Dataset, who: Person) -> None:
    """Comments and application segments in a lossless JPEG, its offset table, and a further fragment behind it."""
    data = values_of(who)["OB"]
    frame = np.frombuffer(film.PixelData, np.uint16).reshape(film.Rows, film.Columns)
    stream = bytes(imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=12))
    parts = [mark + (len(data) + 2).to_bytes(2, "big") + data for mark in (b"\xff\xfe", b"\xff\xe1", b"\xff\xec")]
    film.PixelData = encapsulate([stream[:2] + b"".join(parts) + stream[2:] + data])
    film["PixelData"].VR, film["PixelData"].is_undefined_length = "OB", True
    film.file_meta.TransferSyntaxUID = JPEG_LOSSLESS


UNUSED = {"AS", "OV", "SV", "TM"}
"""VRs that no attribute has, or that hold too little; they are planted in private elements."""
DICOM_PLACES: dict[str, Callable[[Dataset, Person], None]] = {
    **{f"attributes of VR {vr}": _standard(vr) for vr in values_of(person("any")) if vr not in UNUSED},
    "private elements": _private,
    "sequences": _nested(1),
    "sequences in sequences": _nested(4),
    "overlays": _overlay,
    "curves": _curves,
    "icon image": _icon,
    "explanations of windows": _explanations,
    "explanation of a lookup table": _lookup,
    "texts and numbers of rescale, shutter and spacing": _rescale,
    "colour profile": _profile,
    "bytes behind the pixels": _behind,
    "preamble and file meta": _file_meta,
    "bytes above the stored bits": _high_bytes,
    "JPEG comments and fragments": _encapsulated,
    "PatientID": _set(PatientID=lambda who: who.number),
    "issuer": _set(IssuerOfPatientID=lambda who: who.family, PatientID=lambda who: "5512"),
    "AccessionNumber": _set(AccessionNumber=lambda who: who.number, StudyID=lambda who: who.number),
    "UIDs": _set(
        SOPInstanceUID=lambda who: who.uid, StudyInstanceUID=lambda who: f"{who.uid}.1",
        SeriesInstanceUID=lambda who: f"{who.uid}.2", FrameOfReferenceUID=lambda who: f"{who.uid}.3",
    ),
    "dates": _set(**{
        name: lambda who: f"{who.birth:%Y%m%d}" for name in ("StudyDate", "SeriesDate", "ContentDate",
        "AcquisitionDate", "PatientBirthDate", "InstanceCreationDate", "DateOfLastCalibration")
    }),
    "words of ImageType": _set(ImageType=lambda who: ["ORIGINAL", "PRIMARY", who.family.upper(), who.number]),
    "body part and view": _set(
        BodyPartExamined=lambda who: who.family.upper(), ViewPosition=lambda who: who.given.upper(),
        ImageLaterality=lambda who: who.family.upper(), PatientOrientation=lambda who: [who.family, who.given],
    ),
    "sex and age": _set(PatientSex=lambda who: who.family.upper(), PatientAge=lambda who: who.number),
    "device": _set(
        Manufacturer=lambda who: f"Siemens {who.name}", ManufacturerModelName=lambda who: f"{who.given} {who.family}",
        StationName=lambda who: who.family[:16], DeviceSerialNumber=lambda who: who.number,
        DetectorID=lambda who: who.number, InstitutionName=lambda who: who.text[:64],
        SoftwareVersions=lambda who: [who.number, who.family],
    ),
    "device model of known words and a date": _set(
        ManufacturerModelName=lambda who: f"Axiom {who.birth:%d.%m.%Y} {who.number}"
    ),
    "species": _set(PatientSpeciesDescription=lambda who: f"Homo sapiens {who.name}"),
    "name in Latin-1": _set(SpecificCharacterSet=lambda who: "ISO_IR 100", PatientName=lambda who: who.name),
    "name in Unicode": _set(
        SpecificCharacterSet=lambda who: "ISO_IR 192", PatientName=lambda who: f"{who.name}={who.family}={who.given}"
    ),
}  # fmt: skip
REPEATED = {"device": 4, "device model of known words and a date": 4}
"""Films of as many patients: a device name is public where enough patients share it."""


def write_dicoms(archive: Path) -> None:
    """One film per place, or as many as REPEATED says."""
    number = 0
    for place, plant in DICOM_PLACES.items():
        for _ in range(REPEATED.get(place, 1)):
            number += 1
            path = archive / f"s{number // 20}" / f"i{number:04d}.dcm"
            film = write_film(
                path, values=anatomy(place + str(number)), sop_class=DX_FOR_PRESENTATION,
                patient_id=f"7{number:04d}", sop=uid("planted", number), BodyPartExamined="CHEST", ViewPosition="PA",
                SpecificCharacterSet="ISO_IR 192",
            )  # fmt: skip
            with config.disable_value_validation():
                plant(film, person(place))
                film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
                film.save_as(path, implicit_vr=False, little_endian=True)


def _png(archive: Path, place: str, **options: Any) -> None:
    picture(place).save(archive / f"{place.replace(' ', '')}.png", **options)


def picture(place: str) -> Image.Image:
    """Pixels of an image file."""
    return Image.fromarray(anatomy(place, bits=8).astype(np.uint8))


def _text_chunks(archive: Path, place: str) -> None:
    who, chunks = person(place), PngImagePlugin.PngInfo()
    chunks.add_text("Author", who.text)
    chunks.add_text("Comment", who.text, zip=True)
    chunks.add_itxt("Patient", who.name)
    chunks.add_itxt("Zipped", who.text, zip=True)
    chunks.add_itxt("XML:com.adobe.xmp", _xmp(who).decode())
    _png(archive, place, pnginfo=chunks)


def _xmp(who: Person) -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>{who.text}</dc:creator></x:xmpmeta>'.encode()


def _exif(who: Person) -> Image.Exif:
    exif = Image.Exif()
    exif[0x013B], exif[0x010E] = who.name.encode(), who.text.encode()
    exif[0x9286] = b"ASCII\0\0\0" + who.text.encode()
    exif.get_ifd(0x8825)[1] = who.given
    return exif


def _icc(who: Person) -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return bytes(profile + who.text.encode())


def _jpeg(archive: Path, place: str) -> None:
    who, written = person(place), io.BytesIO()
    data = who.text.encode()
    picture(place).save(
        written, "JPEG", exif=_exif(who), comment=data, xmp=_xmp(who), icc_profile=_icc(who), quality=95
    )
    found = written.getvalue()
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0" + data
    found = found[:2] + b"\xff\xed" + (len(iptc) + 2).to_bytes(2, "big") + iptc + found[2:]
    (archive / "segments.jpg").write_bytes(found)


def _trailing(archive: Path, place: str) -> None:
    for ending, kind in (("png", "PNG"), ("jpg", "JPEG")):
        path = archive / f"trailing.{ending}"
        picture(place + kind).save(path, kind)
        path.write_bytes(path.read_bytes() + person(place).text.encode())


def _file_name(archive: Path, place: str) -> None:
    who = person(place)
    picture(place).save(archive / f"{who.family}_{who.given}_{who.number}.png")
    write_film(archive / f"{who.birth:%Y%m%d} {who.family}.dcm", values=anatomy(place), patient_id="77001")


def _folder_name(archive: Path, place: str) -> None:
    who = person(place)
    folder = archive / f"{who.family}, {who.given} ({who.birth:%d.%m.%Y})" / who.uid
    write_film(folder / "a.dcm", values=anatomy(place), patient_id="77002")
    picture(place).save(folder / "b.png")


def _not_unicode(archive: Path, place: str) -> None:
    name = os.fsdecode(person(place).family.encode("latin-1") + b"\xff.dcm")
    write_film(archive / "moved.dcm", values=anatomy(place), patient_id="77003")
    (archive / "moved.dcm").rename(archive / name)


def _no_film(archive: Path, place: str) -> None:
    who = person(place)
    for name in ("letter.txt", "DICOMDIR", "empty.dcm", "a.json", "data.yaml", "a.xml", "train.csv", "r.pdf"):
        (archive / name).write_text("" if name == "empty.dcm" else who.text)
    write_film(archive / "cut.dcm", values=anatomy(place), patient_id="77004", PatientComments=who.text)
    (archive / "cut.dcm").write_bytes((archive / "cut.dcm").read_bytes()[:-3000])


IMAGE_PLACES: dict[str, Callable[[Path, str], None]] = {
    "text chunks of PNG": _text_chunks,
    "EXIF of PNG": lambda archive, place: _png(archive, place, exif=_exif(person(place))),
    "colour profile of PNG": lambda archive, place: _png(archive, place, icc_profile=_icc(person(place))),
    "segments of JPEG": _jpeg,
    "bytes behind an image": _trailing,
    "name of a file": _file_name,
    "name of a folder": _folder_name,
    "name that is no Unicode": _not_unicode,
    "files that are no films": _no_film,
}
PLACES = (*DICOM_PLACES, *IMAGE_PLACES)


def write_planted_archive(archive: Path) -> None:
    """Write all films."""
    write_dicoms(archive)
    for place, plant in IMAGE_PLACES.items():
        folder = archive / f"images{len(place)}{place.count(' ')}{place[0]}"
        folder.mkdir(parents=True, exist_ok=True)
        plant(folder, place)
