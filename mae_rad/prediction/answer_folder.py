"""The private folder of a run of predictions. It says which file had which answer, so nobody else may read it.

OUT/                  mode 0700
  predictions.csv     a line per film: file, answer or reason, score of each label, operating points reached
  boxes.csv           of a detection: every box in source pixels
  predictions.jsonl   the same, a JSON object per film, written as films are done: an interrupted run goes on behind it
  model.json          the card of the model that answered, and the settings
  overlays/           a picture per film, named by number
  reports/            a DICOM Structured Report per DICOM film, named by number
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
from data_prep.runtime.folder_lock import LOCK_FILE, locked
from data_prep.shard_format.boxes import EDGES
from data_prep.sharding.single_film import ArchiveFile
from mae_rad.errors import PredictionError
from mae_rad.prediction.record import Record

RECORDS, MODEL, TABLE, BOXES = "predictions.jsonl", "model.json", "predictions.csv", "boxes.csv"
OVERLAYS, REPORTS = "overlays", "reports"
_OWN = {RECORDS, MODEL, TABLE, BOXES, OVERLAYS, REPORTS, LOCK_FILE}
_ABOUT = ("number", "path", "frame", "status", "reason", "body_part", "view", "laterality", "overlay", "report")
_PASSING = frozenset({Reason.UNREADABLE_FILE, Reason.DECODER_TIMEOUT})
"""Reasons that another day may not have: the same command tries these files again."""


class PredictRequest(NamedTuple):
    """A file whose films are to be asked: its number in the folder, its size, and when it was changed (ns)."""

    number: int
    size: int
    changed: int

    @classmethod
    def of(cls, number: int, file: ArchiveFile) -> "PredictRequest":
        """The file as it is now; 0 for size and time where it cannot be read."""
        try:
            status = Path(file.path).stat()
        except OSError:  # reported when the file is read
            return cls(number, 0, 0)
        return cls(number, status.st_size, status.st_mtime_ns)


class _Known(NamedTuple):
    """What is known of a file: frame → where its line begins; ``again`` where another try may succeed."""

    asked: PredictRequest
    frames: int
    again: bool
    lines: dict[int, int]


class AnswerFolder:
    """Answers of one model under one group of settings; others are refused.

    Attributes:
        path: of the folder.
        run: a random name, which makes the UIDs of the reports.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.run = _run_of(path / MODEL, identity)
        for name in (OVERLAYS, REPORTS):
            (path / name).mkdir(exist_ok=True)
        self._known: dict[str, _Known] = {}
        self._end = 0
        for line in _whole_lines(path / RECORDS):
            self._keep(Record.model_validate_json(line), len(line))
        self._file = (path / RECORDS).open("ab")

    def undone(self, files: Sequence[ArchiveFile]) -> dict[ArchiveFile, PredictRequest]:
        """The files without an answer, in their order; one that has changed since has none."""
        taken = {known.asked.number for known in self._known.values()}
        numbers = (number for number in range(1, len(files) + len(taken) + 1) if number not in taken)
        asked = {}
        for file in files:
            before = self._known.get(written(file))
            now = PredictRequest.of(next(numbers) if before is None else before.asked.number, file)
            if before is None or before.again or before.asked != now or len(before.lines) < before.frames:
                asked[file] = now
        return asked

    def add(self, record: Record) -> None:
        """Keep the answer for a film: a process that is killed after this has told it."""
        line = record.model_dump_json(exclude_defaults=True).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._keep(record, len(line))

    def records(self) -> Iterator[Record]:
        """All answers, by number."""
        self._file.flush()
        with (self.path / RECORDS).open("rb") as file:
            for known in sorted(self._known.values(), key=lambda known: known.asked):
                for _, start in sorted(known.lines.items()):
                    file.seek(start)
                    yield Record.model_validate_json(file.readline())

    def write_tables(self, labels: Sequence[str], points: Sequence[str], *, boxes: bool) -> None:
        """Write all that is known as tables."""
        _write_csv(self.path / TABLE, _table(self.records(), labels, points))
        if boxes:
            _write_csv(self.path / BOXES, _box_table(self.records()))

    def close(self) -> None:
        """Close what is open."""
        self._file.close()

    def _keep(self, record: Record, length: int) -> None:
        """A later answer takes the place of an earlier one: of the same frame, or of the file as it was before."""
        asked = PredictRequest(record.number, record.size, record.changed)
        before = self._known.get(record.path)
        lines = before.lines if before is not None and before.asked == asked and not before.again else {}
        lines[record.frame or 0] = self._end
        self._known[record.path] = _Known(asked, record.frames, record.reason in _PASSING, lines)
        self._end += length


@contextmanager
def answer_folder(path: Path, identity: Mapping[str, Any], inputs: Sequence[Path]) -> Iterator[AnswerFolder]:
    """Make a folder or take up one of the same model and settings; only its owner may read what is written inside.

    Args:
        path: of the folder.
        identity: JSON values: what all answers in it share.
        inputs: that the user gave.

    Raises:
        PredictionError: it holds something else or answers of another model or other settings, is in use, lies inside
            an input, or cannot be written.
    """
    for given in inputs:
        if given.is_dir() and path.resolve().is_relative_to(given.resolve()):
            raise PredictionError(f"out={path} lies inside {given}, whose films are asked; give a folder elsewhere")
    before = os.umask(0o077)
    try:
        _prepare(path)
        with locked(path):
            for part in (path, path / OVERLAYS, path / REPORTS):
                if part.is_dir():
                    remove_temporary(part)
            folder = AnswerFolder(path, identity)
            try:
                yield folder
            finally:
                folder.close()
    except BlockingIOError:
        raise PredictionError(f"another command is writing to {path}; wait until it has ended") from None
    except OSError as error:
        raise PredictionError(
            f"{path} cannot be written ({error.strerror}); mend that, then run the same command again: it goes on"
            " where it was"
        ) from None
    finally:
        os.umask(before)


def written(file: ArchiveFile) -> str:
    """The path of a file as it stands in the tables: bytes that are no Unicode are escaped."""
    return file.path.encode("utf-8", "backslashreplace").decode()


def _prepare(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise PredictionError(f"out={path} is a file; give a new or an empty folder")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    others = {entry.name for entry in path.iterdir() if not is_temporary(entry)} - _OWN
    if others:
        raise PredictionError(f"out={path} holds other files; give a new or an empty folder")
    path.chmod(0o700)


def _run_of(path: Path, identity: Mapping[str, Any]) -> str:
    """The name of the run that the folder belongs to."""
    if not path.exists():
        run = secrets.token_hex(16)
        atomic_text(path, json.dumps({"run": run, **identity}, indent=2) + "\n")
        return run
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        run = str(before.pop("run"))
    except (ValueError, KeyError, AttributeError):
        raise PredictionError(f"{path} is damaged; give another out") from None
    changed = sorted(name for name in {*before, *identity} if before.get(name) != identity.get(name))
    if changed:
        raise PredictionError(
            f"{path.parent} holds answers with another {', '.join(changed)}; give another out, or the same as then"
        )
    return run


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Lines of a file, which ends behind the last whole one: what an interruption cut off is removed."""
    if not path.exists():
        return
    sound = 0
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"}\n"):
                break
            sound += len(line)
            yield line
        file.truncate(sound)


def _table(records: Iterator[Record], labels: Sequence[str], points: Sequence[str]) -> Iterator[list[object]]:
    yield [*_ABOUT, *(name for label in labels for name in (label, *(f"{label} {point}" for point in points)))]
    for record in records:
        by_label = {one.label: one for one in record.findings}
        row = [getattr(record, name) for name in _ABOUT]
        for label in labels:
            one = by_label.get(label)
            row.append(None if one is None else f"{one.score:.6g}")
            row += [None if one is None else _word(one.reached.get(point)) for point in points]
        yield row


def _word(reached: bool | None) -> str | None:
    return None if reached is None else "above" if reached else "below"


def _box_table(records: Iterator[Record]) -> Iterator[list[object]]:
    yield ["number", "path", "frame", "label", "score", *EDGES]
    for record in records:
        for box in record.boxes:
            corners = [f"{getattr(box, corner):.2f}" for corner in EDGES]
            yield [record.number, record.path, record.frame, box.label, f"{box.score:.6g}", *corners]


def _write_csv(path: Path, rows: Iterator[list[object]]) -> None:
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        csv.writer(text).writerows(rows)
        text.detach()
