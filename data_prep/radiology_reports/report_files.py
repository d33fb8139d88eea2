"""Read exported report texts: CSV tables with a column of texts, folders of text or XML files.

Known names of columns: ``words/columns.txt``. The name of a text or XML file, or the part of it that a pattern names
(:mod:`.report_names`), is the accession number, the study UID, a folder or the name of a film of the study. Headings of
XML are kept: ``AbstractText`` with a label (Open-i), sections with titles (HL7 CDA).
"""

import errno
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree.ElementTree import Element

from data_prep.annotations.csv_table import read_csv_rows
from data_prep.annotations.row_problems import Place, RowProblem
from data_prep.bounded_reading import parse_xml, read_bounded
from data_prep.deidentify.vocabulary import normalise
from data_prep.errors import LabelError
from data_prep.radiology_reports.language import LANGUAGES, Language
from data_prep.radiology_reports.phrases import read_word_list
from data_prep.radiology_reports.report_names import BY_FILE_NAME, ReportNames
from data_prep.radiology_reports.sections import states_findings

IDENTIFIER_COLUMNS = ("accession", "study_uid", "sop_instance_uid", "path", "patient_id")
"""Columns that identify the study of a report."""
SECTIONS = ("indication", "findings", "impression")
_TABLE_ENDINGS = (".csv", ".tsv", ".gz")
_TEXT_ENDINGS = (".txt", ".xml")
MAX_TEXT_CHARACTERS = 2**17
"""Longest report; the longest of a published set has a twentieth of that."""
_MAX_FILE_BYTES = 2**22
FILE_NAME = "file_name"
"""Identifier of a report in a file of its own: its name without ending, or what a pattern names in it."""


@dataclass(frozen=True, slots=True)
class ReportText:
    """One report.

    Attributes:
        place: file and line.
        identifiers: name of the column (IDENTIFIER_COLUMNS or FILE_NAME) → identifier of the study.
        text: with line ends and accented letters in one form.
        language: as the table states it; None where it does not.
    """

    place: Place
    identifiers: dict[str, str]
    text: str
    language: Language | None = None


def check_reports_exist(sources: Sequence[Path]) -> None:
    """Check that files and folders of reports exist.

    Raises:
        LabelError: names the first one that does not.
    """
    for path in sources:
        if not path.exists():
            raise LabelError(f"the reports {path} do not exist. Give a CSV table, or a folder of text or XML files")


def read_reports(
    sources: Sequence[Path], problems: list[RowProblem], names: ReportNames = BY_FILE_NAME
) -> Iterator[ReportText]:
    """Read all reports of tables and folders.

    Args:
        sources: CSV tables, folders of text or XML files, or single such files.
        problems: list to which empty reports, and files without reports, are appended.
        names: how the files are named.

    Yields:
        Reports that say something under a heading of findings or impression, or without headings.

    Raises:
        LabelError: a file does not exist, or a table has no column of texts or none that identifies the study.
        ArchiveError: a table cannot be read.
    """
    check_reports_exist(sources)
    for source in sources:
        if source.is_dir():
            files = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
            reports: Iterator[ReportText] = (report for path in files for report in _read_file(path, problems, names))
        else:
            reports = _read_file(source, problems, names)
        for report in reports:
            if len(report.text) > MAX_TEXT_CHARACTERS:
                problems.append(RowProblem("report_too_long", report.place))
            elif states_findings(report.text):
                yield report
            else:
                problems.append(RowProblem("empty_report", report.place))


def _read_table(path: Path, problems: list[RowProblem]) -> Iterator[ReportText]:
    rows = read_csv_rows(path)
    line, header = next(rows, (1, []))
    columns = _find_columns(path, header)
    for line, cells in rows:
        if any(cells[len(header) :]):
            problems.append(RowProblem("more_cells_than_columns", Place(path, line)))
            continue
        row = {name: cells[position] for name, position in columns.items() if position < len(cells)}
        code = row.get("language", "").lower()[:2]
        language = next((language for language in LANGUAGES if language == code), None)
        if code and not language:
            problems.append(RowProblem("language_not_known_here", Place(path, line)))
        identifiers = {name: row[name] for name in IDENTIFIER_COLUMNS if row.get(name)}
        yield ReportText(Place(path, line), identifiers, _normalise_text(_row_text(row)), language)


def _find_columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Standard name of a column → its position in the header."""
    columns: dict[str, int] = {}
    for position, header_cell in enumerate(header):
        name = _known_columns().get(normalise(header_cell))
        if name is not None and columns.setdefault(name, position) != position:
            raise LabelError(f"two columns hold {name}: {path} line 1. Rename one of them")
    texts, identifiers = {"text", *SECTIONS} & columns.keys(), set(IDENTIFIER_COLUMNS) & columns.keys()
    if not texts or not identifiers:
        content = f"studies ({', '.join(IDENTIFIER_COLUMNS)})" if texts else "texts (text, or findings and impression)"
        raise LabelError(
            f"no column of {content}: {path} line 1. Rename a column"
            " (known names: data_prep/radiology_reports/words/columns.txt)"
        )
    return columns


@cache
def _known_columns() -> dict[str, str]:
    return {normalise(name): entry.key for entry in read_word_list("columns") for name in (entry.key, *entry.phrases)}


def _row_text(row: Mapping[str, str]) -> str:
    """The text of a row; several columns become sections with headings."""
    parts = [f"{name.upper()}:\n{row[name]}" for name in SECTIONS if row.get(name)]
    return "\n\n".join([row["text"], *parts] if row.get("text") else parts)


def _read_file(path: Path, problems: list[RowProblem], names: ReportNames) -> Iterator[ReportText]:
    if path.suffix.lower() in _TABLE_ENDINGS:
        yield from _read_table(path, problems)
        return
    if path.suffix.lower() not in _TEXT_ENDINGS:
        problems.append(RowProblem("no_report_file", Place(path)))
        return
    study = names.study_name(path.name, path.stem)
    if study is None:
        problems.append(RowProblem("name_without_study", Place(path)))
        return
    try:
        data = read_bounded(path, _MAX_FILE_BYTES)
        text = text_from_xml(data) if path.suffix.lower() == ".xml" else _decode(data, path, problems)
    except OSError as error:
        problem = "report_too_long" if error.errno == errno.EFBIG else "file_not_readable"
        problems.append(RowProblem(problem, Place(path)))
    except ValueError:
        problems.append(RowProblem("xml_not_valid", Place(path)))
    else:
        yield ReportText(Place(path), {FILE_NAME: study}, _normalise_text(text))


def _decode(data: bytes, path: Path, problems: list[RowProblem]) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.append(RowProblem("read_as_windows_1252", Place(path)))
        return data.decode("cp1252", "replace")


def text_from_xml(data: bytes) -> str:
    """Return the text of an XML file, with its headings.

    Raises:
        ValueError: the data are not XML.
    """
    root = parse_xml(data)
    abstract = [element for element in root.iter() if _local_name(element) == "AbstractText"]
    if abstract:
        return "\n\n".join(
            f"{element.get('Label', '')}:\n{_text(element)}".lstrip(":\n") for element in abstract if _text(element)
        )
    sections = [element for element in root.iter() if _local_name(element) == "section"]
    if sections:
        return "\n\n".join(
            ":\n".join(filter(None, (_child_text(section, "title"), _child_text(section, "text"))))
            for section in sections
        )
    return "\n".join(text.strip() for text in root.itertext() if text.strip())


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _child_text(section: Element, tag: str) -> str:
    return "\n".join(_text(element) for element in section if _local_name(element) == tag)


def _text(element: Element) -> str:
    return "\n".join(text.strip() for text in element.itertext() if text.strip())


def _normalise_text(text: str) -> str:
    """Normalise line ends and accented letters; offsets of labels count in this text."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " "))
