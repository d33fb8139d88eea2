"""What the DICOM documents of a prediction share: their author, their UIDs, and the film that they refer to."""

from collections.abc import Sequence
from typing import NamedTuple

from pydicom import DataElement, Dataset, config
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DA, validate_value

from mae_rad.prediction.record import Record

MANUFACTURER = "mae_rad"
_SOP_CLASS_ROOT = "1.2.840.10008.5.1.4.1.1."
_MULTI_FRAME_CLASSES = frozenset(
    f"{_SOP_CLASS_ROOT}{ending}"
    for ending in ("7.1", "7.2", "7.3", "7.4", "12.1", "12.1.1", "12.2", "12.2.1", "13.1.1", "13.1.2", "13.1.3")
)
"""Multi-frame secondary capture, angiography, fluoroscopy, 3D X-ray and breast tomosynthesis (PS3.4 table B.5-1)."""
_UNICODE = "ISO_IR 192"
"""Character set of a report of a film with several of them (code extensions, PS3.3 C.12.1.1.2)."""
_TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
"""Required attributes that may be empty (type 2)."""


class Author(NamedTuple):
    """The model that made the predictions.

    Attributes:
        name: of its task.
        version: first characters of the checksum of its weights.
        program: version of mae_rad.
        run: name of the run of predictions; the same run derives the same UIDs.
        points: operating point → label → threshold.
        chance_warnings: label → why it is not shown to be better than chance.
    """

    name: str
    version: str
    program: str
    run: str
    points: dict[str, dict[str, float]]
    chance_warnings: dict[str, str]


def has_frames(film: Dataset) -> bool:
    """Whether the SOP class of a film has frames (PS3.3 table 10-3)."""
    return str(film.SOPClassUID) in _MULTI_FRAME_CLASSES


def frames_of(film: Dataset, record: Record) -> list[int] | None:
    """The frame of a film, where its SOP class has frames."""
    return [record.frame] if record.frame and has_frames(film) else None


def derived_uid(author: Author, *names: str) -> UID:
    """A UID derived from run, model, film and purpose."""
    return UID(generate_uid(entropy_srcs=[author.run, author.version, *names]))


def with_required_attributes(header: Dataset) -> Dataset:
    """A copy with all required attributes, empty where the header has no value or one that DICOM does not allow.

    Missing UIDs are derived from that of the instance.
    """
    film = Dataset()
    film.update(header)
    sets = film.get("SpecificCharacterSet")
    if isinstance(sets, Sequence) and not isinstance(sets, str):  # highdicom knows few of the sets with extensions
        encode_in_unicode(film)
    for keyword in _TYPE_2:
        if keyword not in film or not _is_valid(film[keyword]):
            setattr(film, keyword, "")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if keyword not in film:
            setattr(film, keyword, generate_uid(entropy_srcs=[keyword, str(film.SOPInstanceUID)]))
    return film


def encode_in_unicode(film: Dataset) -> None:
    """Change the character set of a header to Unicode, in place."""
    for element in [element for element in film if element.VR == "PN"]:
        setattr(film, element.keyword, str(element.value))  # the decoded text, which is then encoded anew
    film.SpecificCharacterSet = _UNICODE


def _is_valid(element: DataElement) -> bool:
    if element.keyword == "PatientSex" and element.value not in ("", "M", "F", "O"):  # PS3.3 C.7.1.1
        return False
    try:
        validate_value(element.VR, str(element.value), config.RAISE)
        if element.VR == "DA":
            DA(str(element.value))  # 30 February has a valid format, but is no date
    except ValueError:
        return False
    return True
