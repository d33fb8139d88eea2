"""The private output folder of predictions; it names files, and only its owner can read it.

OUT/                  mode 0700
  predictions.csv     a line per film: file, status or reason, warnings, score of each label and operating points
                      reached; or numbers, or a class with the probabilities of all classes
  boxes.csv           of a detection: every box in source pixels
  predictions.jsonl   the same, a JSON object per film, written during the run; an interrupted run resumes
  model.json          the card of the model, and the settings
  overlays/           a picture per film, named by number
  reports/            a DICOM Structured Report per DICOM film, named by number
  presentation_states/  a Grayscale Softcopy Presentation State per DICOM film, named by number
"""

import csv
import io
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import Reason
from data_prep.runtime.atomic_write import atomic_file, atomic_text, is_temporary, remove_temporary
from data_prep.runtime.csv_text import safe_rows
from data_prep.runtime.folder_lock import LOCK_FILE, locked
from data_prep.shard_format.boxes import EDGES
from data_prep.sharding.single_film import ArchiveFile
from mae_rad.errors import PredictionError
from mae_rad.prediction.answer_columns import AnswerColumns
from mae_rad.prediction.record import Record

RECORDS, MODEL, TABLE, BOXES = "predictions.jsonl", "model.json", "predictions.csv", "boxes.csv"
OVERLAYS, REPORTS, STATES = "overlays", "reports", "presentation_states"
_FILE_NAMES = {RECORDS, MODEL, TABLE, BOXES, OVERLAYS, REPORTS, STATES, LOCK_FILE}
_RECORD_COLUMNS = (
    "number",
    "path",
    "frame",
    "status",
    "reason",
    "warnings",
    "body_part",
    "view",
    "laterality",
    "overlay",
    "report",
    "state",
)
_TEMPORARY_REASONS = frozenset({Reason.UNREADABLE_FILE, Reason.DECODER_TIMEOUT})
"""Reasons that may not persist: the same command tries these files again."""


class PredictRequest(NamedTuple):
    """A file to predict.

    Attributes:
        number: of the file in the folder.
        size: in bytes.
        changed: modification time in ns.
    """

    number: int
    size: int
    changed: int

    @classmethod
    def of(cls, number: int, file: ArchiveFile) -> "PredictRequest":
        """Read size and modification time of a file.

        Args:
            number: of the file in the folder.
            file: whose status is read; both values are 0 if it cannot be accessed.
        """
        try:
            status = Path(file.path).stat()
        except OSError:  # reported when the file is read
            return cls(number, 0, 0)
        return cls(number, status.st_size, status.st_mtime_ns)


class _FileRecords(NamedTuple):
    """The records of a file.

    Attributes:
        file: with size and modification time.
        frames: number of its films.
        is_temporary_failure: whether another attempt may succeed.
        lines: frame → offset of its line in ``predictions.jsonl``.
    """

    file: PredictRequest
    frames: int
    is_temporary_failure: bool
    lines: dict[int, int]


class PredictionFolder:
    """Predictions of one model with one set of settings.

    Attributes:
        path: of the folder.
        run: a random name, from which the UIDs of the reports are derived.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.run = _run_name(path / MODEL, identity)
        for name in (OVERLAYS, REPORTS, STATES):
            (path / name).mkdir(exist_ok=True)
        self._known: dict[str, _FileRecords] = {}
        self._end = 0
        for line in _complete_lines(path / RECORDS):
            self._keep(Record.model_validate_json(line), len(line))
        self._file = (path / RECORDS).open("ab")

    def pending(self, files: Sequence[ArchiveFile]) -> dict[ArchiveFile, PredictRequest]:
        """Files without a prediction, in the given order; a file that has changed since counts as one."""
        used_numbers = {known.file.number for known in self._known.values()}
        free_numbers = (number for number in range(1, len(files) + len(used_numbers) + 1) if number not in used_numbers)
        pending = {}
        for file in files:
            previous = self._known.get(escaped_path(file))
            current = PredictRequest.of(next(free_numbers) if previous is None else previous.file.number, file)
            if (
                previous is None
                or previous.is_temporary_failure
                or previous.file != current
                or len(previous.lines) < previous.frames
            ):
                pending[file] = current
        return pending

    def add(self, record: Record) -> None:
        """Append the record of a film; a process that is killed later does not lose it."""
        line = record.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._keep(record, len(line))

    def records(self) -> Iterator[Record]:
        """All records, ordered by the number of the file."""
        self._file.flush()
        with (self.path / RECORDS).open("rb") as file:
            for known in sorted(self._known.values(), key=lambda known: known.file):
                for _, start in sorted(known.lines.items()):
                    file.seek(start)
                    yield Record.model_validate_json(file.readline())

    def write_tables(self, columns: AnswerColumns, *, boxes: bool) -> None:
        """Write the records as CSV tables.

        Args:
            columns: answers of the model.
            boxes: whether the model predicts boxes.
        """
        _write_csv(self.path / TABLE, _table(self.records(), columns))
        if boxes:
            _write_csv(self.path / BOXES, _box_table(self.records()))

    def close(self) -> None:
        """Close ``predictions.jsonl``."""
        self._file.close()

    def _keep(self, record: Record, length: int) -> None:
        """A later record replaces an earlier one of the same frame, and all of a file that has changed since."""
        file = PredictRequest(record.number, record.size, record.changed)
        previous = self._known.get(record.path)
        lines = (
            previous.lines
            if previous is not None and previous.file == file and not previous.is_temporary_failure
            else {}
        )
        lines[record.frame or 0] = self._end
        self._known[record.path] = _FileRecords(file, record.frames, record.reason in _TEMPORARY_REASONS, lines)
        self._end += length


@contextmanager
def open_prediction_folder(
    path: Path, identity: Mapping[str, Any], inputs: Sequence[Path]
) -> Iterator[PredictionFolder]:
    """Create an output folder, or open one with predictions of the same model and settings.

    Args:
        path: of the folder.
        identity: JSON values that all predictions in the folder share.
        inputs: files and folders to predict.

    Returns:
        The folder, locked for this process; only its owner can read the files.

    Raises:
        PredictionError: the folder holds other files or predictions of another model or other settings, is in use,
            lies inside an input, or cannot be written.
    """
    for input_path in inputs:
        if input_path.is_dir() and path.resolve().is_relative_to(input_path.resolve()):
            raise PredictionError(f"out={path} lies inside the input {input_path}. Give a folder outside of it")
    previous = os.umask(0o077)
    try:
        _prepare(path)
        with locked(path):
            for part in (path, path / OVERLAYS, path / REPORTS, path / STATES):
                if part.is_dir():
                    remove_temporary(part)
            folder = PredictionFolder(path, identity)
            try:
                yield folder
            finally:
                folder.close()
    except BlockingIOError:
        raise PredictionError(f"{path} is locked: another command writes to it. Wait until it has ended") from None
    except OSError as error:
        raise PredictionError(
            f"{path} cannot be written: {error.strerror}. Remove the cause and run the same command again: it resumes"
        ) from None
    finally:
        os.umask(previous)


def escaped_path(file: ArchiveFile) -> str:
    """The path of a file for the tables; bytes that are not Unicode are escaped."""
    return file.path.encode("utf-8", "backslashreplace").decode()


def _prepare(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise PredictionError(f"out={path} is a file. Give a new or an empty folder")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    other_names = {entry.name for entry in path.iterdir() if not is_temporary(entry)} - _FILE_NAMES
    if other_names:
        raise PredictionError(f"out={path} holds other files. Give a new or an empty folder")
    path.chmod(0o700)


def _run_name(path: Path, identity: Mapping[str, Any]) -> str:
    """Name of the run of the folder; a new folder gets a new one."""
    if not path.exists():
        run = secrets.token_hex(16)
        atomic_text(path, json.dumps({"run": run, **identity}, indent=2) + "\n")
        return run
    try:
        previous = json.loads(path.read_text(encoding="utf-8"))
        run = str(previous.pop("run"))
    except (ValueError, KeyError, AttributeError):
        raise PredictionError(f"{path} is damaged. Give another out") from None
    changed = sorted(name for name in {*previous, *identity} if previous.get(name) != identity.get(name))
    if changed:
        raise PredictionError(
            f"{path.parent} holds predictions with another {', '.join(changed)}. Give another out, or the model and"
            " settings of the folder"
        )
    return run


def _complete_lines(path: Path) -> Iterator[bytes]:
    """Complete lines of a file; an incomplete last line, left by an interruption, is removed."""
    if not path.exists():
        return
    complete_bytes = 0
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"}\n"):
                break
            complete_bytes += len(line)
            yield line
        file.truncate(complete_bytes)


def _table(records: Iterator[Record], columns: AnswerColumns) -> Iterator[list[object]]:
    yield [*_RECORD_COLUMNS, *columns.names]
    for record in records:
        fields = record.model_dump(include=set(_RECORD_COLUMNS)) | {"warnings": "; ".join(record.warnings)}
        yield [*(fields[name] for name in _RECORD_COLUMNS), *columns.cells(record)]


def _box_table(records: Iterator[Record]) -> Iterator[list[object]]:
    yield ["number", "path", "frame", "label", "score", *EDGES]
    for record in records:
        for box in record.boxes:
            corners = [f"{getattr(box, corner):.2f}" for corner in EDGES]
            yield [record.number, record.path, record.frame, box.label, f"{box.score:.6g}", *corners]


def _write_csv(path: Path, rows: Iterator[list[object]]) -> None:
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        csv.writer(text).writerows(safe_rows(rows))
        text.detach()
