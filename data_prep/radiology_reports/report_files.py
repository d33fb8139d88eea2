"""Report texts as they are exported: tables with a column of texts, folders of text or XML files.

A table names its columns in many ways: ``words/columns.txt``. A file of a folder is named by accession number, study
UID, or as its film. Of XML, headings are kept: ``AbstractText`` with a label (Open-i), sections with titles (HL7 CDA).
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from data_prep.annotations.csv_table import csv_rows
from data_prep.annotations.row_problems import Place, RowProblem
from data_prep.deidentify.vocabulary import normalise
from data_prep.errors import LabelError
from data_prep.radiology_reports.language import LANGUAGES, Language
from data_prep.radiology_reports.phrases import word_list

NAMES = ("accession", "study_uid", "sop_instance_uid", "path", "patient_id")
"""What tells the study of a report."""
SECTIONS = ("indication", "findings", "impression")
_TABLES = (".csv", ".tsv", ".gz")
_TEXTS = (".txt", ".xml")
FILE_NAME = "file_name"
"""Identifier of a report that is a file of its own: the name without its ending."""


@dataclass(frozen=True, slots=True)
class ReportText:
    """One report: its place, the identifiers of its study, its text."""

    place: Place
    names: dict[str, str]
    text: str
    language: Language | None = None


def refuse_missing(places: Sequence[Path]) -> None:
    """Refuse places that are not there, before anything is written.

    Raises:
        LabelError: names the first of them.
    """
    for place in places:
        if not place.exists():
            raise LabelError(f"reports {place} do not exist; give a CSV table, or a folder of text or XML files")


def read_reports(places: Sequence[Path], problems: list[RowProblem]) -> Iterator[ReportText]:
    """All reports of tables and folders.

    Args:
        places: CSV tables, folders of text or XML files, or single such files.
        problems: to which empty reports, and files that hold none, are added.

    Raises:
        LabelError: a place does not exist, or a table has no column of texts or none that tells the study.
        ArchiveError: a table cannot be read.
    """
    refuse_missing(places)
    for place in places:
        if place.is_dir():
            files = sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("."))
            reports: Iterator[ReportText] = (one for path in files for one in _read_file(path, problems))
        else:
            reports = _read_file(place, problems)
        for report in reports:
            if report.text.strip():
                yield report
            else:
                problems.append(RowProblem("empty_report", report.place))


def _read_table(path: Path, problems: list[RowProblem]) -> Iterator[ReportText]:
    rows = csv_rows(path)
    line, header = next(rows, (1, []))
    columns = _columns(path, header)
    for line, cells in rows:
        if any(cells[len(header) :]):
            problems.append(RowProblem("more_cells_than_columns", Place(path, line)))
            continue
        row = {name: cells[place] for name, place in columns.items() if place < len(cells)}
        language = row.get("language", "").lower()[:2]
        known = next((one for one in LANGUAGES if one == language), None)
        if language and not known:
            problems.append(RowProblem("language_not_known_here", Place(path, line)))
        names = {name: row[name] for name in NAMES if row.get(name)}
        yield ReportText(Place(path, line), names, _tidy(_told(row)), known)


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Our name of a column → its place."""
    found: dict[str, int] = {}
    for place, told in enumerate(header):
        name = _column_names().get(normalise(told))
        if name is not None and found.setdefault(name, place) != place:
            raise LabelError(f"{path} line 1: two columns mean {name}; rename one of them")
    texts, names = {"text", *SECTIONS} & found.keys(), set(NAMES) & found.keys()
    if not texts or not names:
        missing = "texts: text, or findings and impression" if not texts else f"studies: {', '.join(NAMES)}"
        raise LabelError(
            f"{path} line 1: no column of {missing} (known spellings: data_prep/radiology_reports/words/columns.txt)"
        )
    return found


@cache
def _column_names() -> dict[str, str]:
    return {normalise(one): entry.key for entry in word_list("columns") for one in (entry.key, *entry.phrases)}


def _told(row: Mapping[str, str]) -> str:
    """The text of a row; of several columns under their headings."""
    parts = [f"{name.upper()}:\n{row[name]}" for name in SECTIONS if row.get(name)]
    return "\n\n".join([row["text"], *parts] if row.get("text") else parts)


def _read_file(path: Path, problems: list[RowProblem]) -> Iterator[ReportText]:
    if path.suffix.lower() in _TABLES:
        yield from _read_table(path, problems)
        return
    if path.suffix.lower() not in _TEXTS:
        problems.append(RowProblem("no_report_file", Place(path)))
        return
    try:
        data = path.read_bytes()
        text = of_xml(data) if path.suffix.lower() == ".xml" else _decoded(data, path, problems)
    except OSError:
        problems.append(RowProblem("file_not_readable", Place(path)))
    except ElementTree.ParseError:
        problems.append(RowProblem("xml_not_valid", Place(path)))
    else:
        yield ReportText(Place(path), {FILE_NAME: path.stem}, _tidy(text))


def _decoded(data: bytes, path: Path, problems: list[RowProblem]) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.append(RowProblem("read_as_windows_1252", Place(path)))
        return data.decode("cp1252", "replace")


def of_xml(data: bytes) -> str:
    """The text of an XML file, with its headings.

    Raises:
        ElementTree.ParseError: it is none.
    """
    root = ElementTree.fromstring(data)
    abstract = [one for one in root.iter() if _tag(one) == "AbstractText"]
    if abstract:
        return "\n\n".join(f"{one.get('Label', '')}:\n{_text(one)}".lstrip(":\n") for one in abstract if _text(one))
    sections = [one for one in root.iter() if _tag(one) == "section"]
    if sections:
        return "\n\n".join(":\n".join(filter(None, (_part(one, "title"), _part(one, "text")))) for one in sections)
    return "\n".join(text.strip() for text in root.itertext() if text.strip())


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _part(section: ElementTree.Element, tag: str) -> str:
    return "\n".join(_text(one) for one in section if _tag(one) == tag)


def _text(element: ElementTree.Element) -> str:
    return "\n".join(text.strip() for text in element.itertext() if text.strip())


def _tidy(text: str) -> str:
    """One form of line ends and of letters with accents; what offsets count in."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " "))
