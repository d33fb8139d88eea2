"""The synthetic archive: many patients' films as a hospital would export them, and the truth about every one of them.

OUT/archive/…            DICOM files in folders that bear names, with and without ending; they hold nothing of the truth
OUT/truth/labels.csv     sop_instance_uid, label, value: foreign_object and fracture, present or absent, for all films
OUT/truth/boxes.csv      sop_instance_uid, label and the box in source raster pixels (right and lower end exclusive)
OUT/truth/truth.jsonl    one line per file: path, kind, expected reject reason, and every draw and measure of a film
OUT/truth/report_labels.csv  accession, label, value: what the words of each report say of its study
OUT/reports/german.csv   accession, patient, text: reports as a table
OUT/reports/english/…    reports as text files, named by accession number
OUT/truth/identifying.txt  every value of the headers that must not leave the archive, one per line
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.errors import ArchiveError
from data_prep.phantom.dicom_film import file_bytes, film_dataset, identifying, set_pixels
from data_prep.phantom.fictitious_people import Person, Visit, person, visit
from data_prep.phantom.imaging.scanners import LOOKS
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw, draw_patient
from data_prep.phantom.render_film import RenderedFilm, render
from data_prep.phantom.report_texts import StudyReport, draw_report
from data_prep.phantom.unusable_files import REASONS, Companion
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count, spawn_pool
from data_prep.shard_format.boxes import EDGES

LABELS = ("foreign_object", "fracture")


@dataclass(frozen=True)
class PhantomSummary:
    """What was written."""

    out: Path
    patients: int
    studies: int
    films: int
    foreign_objects: int
    fractures: int
    others: dict[str, int]
    """Kind of every further file → how many."""

    def __str__(self) -> str:
        others = ", ".join(f"{count} {kind}" for kind, count in sorted(self.others.items()))
        return (
            f"{self.out}: {self.films} films in {self.studies} studies of {self.patients} patients,"
            f" {self.foreign_objects} with a foreign object, {self.fractures} with a fracture;"
            f" beside them {others or 'nothing'}\n"
            f"archive: {self.out / 'archive'}   labels and boxes: {self.out / 'truth'}"
            f"   reports: {self.out / 'reports'}"
        )


@dataclass(frozen=True)
class _Written:
    """One patient's rows of the truth."""

    files: list[dict[str, Any]]
    identifying: set[str]
    reports: list[tuple[str, str, StudyReport]]
    """(accession, patient number, report) of every study."""


def write_archive(
    out: Path, *, patients: int, seed: int, workers: int = 0, contrast: float = 1.0, long_side: int | None = None
) -> PhantomSummary:
    """Write an archive of ``patients`` into the new or empty folder ``out``; the same bytes for any ``workers``.

    Args:
        workers: processes; 0 takes one per core.
        contrast: times that of the findings; at 1 their difficulty is the fixed one. Objects stay where they are;
            a fracture may find another bone that can show so much.
        long_side: pixels, in place of what each scanner has.

    Raises:
        ArchiveError: the folder holds files, cannot be written, or there would be no patient.
    """
    if patients < 1 or seed < 0 or workers < 0 or not 0 < contrast < math.inf:
        raise ArchiveError("--patients must be at least 1, --seed and --workers at least 0, --contrast above 0")
    _prepare(out)
    write = partial(_write_patient, out / "archive", seed, patients, contrast, long_side)
    progress = Progress("phantom", "patients", patients)
    done: list[_Written] = []
    for written in _each(write, patients, process_count(workers, patients)):
        done.append(written)
        progress.add(note=f"{sum(len(w.files) for w in done)} files")
    progress.close()
    _write_truth(out / "truth", done)
    return _summary(out, patients, done)


def identifying_values(out: Path) -> set[str]:
    """Every identifying value that :func:`write_archive` put into a header of the archive ``out``.

    Raises:
        ArchiveError: there is no such archive.
    """
    try:
        return set((out / "truth" / "identifying.txt").read_text(encoding="utf-8").splitlines())
    except OSError:
        raise ArchiveError(f"{out} holds no synthetic archive; make one with: python -m data_prep phantom") from None


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ArchiveError(f"{out} holds files already; give a new or an empty folder as OUT")
        (out / "archive").mkdir()
        (out / "truth").mkdir()
    except OSError as error:
        raise ArchiveError(f"{out} cannot be written ({error.strerror}); give another folder as OUT") from None


def _each(write: "partial[_Written]", patients: int, workers: int) -> Iterator[_Written]:
    """In the order of the patients, by spawned processes where there is more than one."""
    if workers == 1:
        yield from map(write, range(patients))
        return
    pool = spawn_pool(workers)
    try:
        yield from pool.map(write, range(patients))
    finally:
        pool.shutdown(cancel_futures=True)


def _write_patient(
    archive: Path, seed: int, patients: int, contrast: float, long_side: int | None, index: int
) -> _Written:
    patient = draw_patient(seed, index, patients)
    who = person(seed, index, patient.anatomy, patient.studies[0].day)
    written = _Written([], set(), [])
    for study in patient.studies:
        when = visit(seed, index, study.index, study.day, study.look, patient.anatomy.sex)
        folder = _folder(patient, study, who, when)
        number = 0
        for draw in (film.with_contrast(contrast) for film in study.films):
            film = render(patient.anatomy, study, draw, long_side=long_side)
            dataset = film_dataset(patient, study, draw, film, who, when)
            syntax = LOOKS[study.look].syntaxes[draw.syntax]
            set_pixels(dataset, film.stored, LOOKS[study.look].bits, syntax)
            stored = file_bytes(dataset, syntax)
            written.identifying.update(identifying(dataset))
            path = _put(archive, folder, index, number, stored)
            written.files.append(_film_row(path, patient, study, draw, film, str(dataset.SOPInstanceUID), syntax))
            companion = Companion(patient, study, draw, who, when, film, dataset, stored)
            for kind in draw.broken:
                number += 1
                content, other = companion.file(kind)
                if other is not None:
                    written.identifying.update(identifying(other))
                path = _put(archive, folder, index, number, content)
                uid = str(other.SOPInstanceUID) if other is not None else None
                written.files.append(
                    {
                        "path": path,
                        "kind": kind.name.lower(),
                        "expected_reason": REASONS[kind].value,
                        "sop_instance_uid": uid,
                    }
                )
            number += 1
        films = [row for row in written.files if row["kind"] == "film" and row["study"]["index"] == study.index]
        objects = [planted["kind"] for row in films for planted in row["foreign_object"]]
        report = draw_report(seed, index, study, any(row["fracture"] for row in films), objects)
        written.reports.append((when.accession, who.patient_id, report))
    return written


def _folder(patient: PatientDraw, study: StudyDraw, who: Person, when: Visit) -> str:
    """As different systems export: by name and day, or by numbers."""
    name = who.name.replace("^", "_").upper()
    if patient.index % 3 == 2:
        return f"DICOM/{who.patient_id}/ST{study.index:06d}/SE000001"
    return f"{name}_{who.patient_id}/{when.date}_{study.body_part}/{when.accession}"


def _put(archive: Path, folder: str, patient: int, number: int, content: bytes) -> str:
    """Write one file; its path below the archive."""
    path = archive / folder / (f"IM{number:06d}" if patient % 2 else f"I{number:04d}.dcm")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path.relative_to(archive).as_posix()


def _film_row(
    path: str, patient: PatientDraw, study: StudyDraw, draw: FilmDraw, film: RenderedFilm, uid: str, syntax: str
) -> dict[str, Any]:
    look = LOOKS[study.look]
    return {
        "path": path,
        "kind": "film",
        "expected_reason": None,
        "sop_instance_uid": uid,
        "patient": patient.index,
        "anatomy": asdict(patient.anatomy),
        "study": {"index": study.index, "body_part": study.body_part, "side": study.side, "day": study.day},
        "scanner": {"look": study.look, "manufacturer": look.manufacturer, "model": look.model, "bits": look.bits},
        "syntax": syntax,
        "draw": asdict(draw),
        "rows": film.stored.shape[0],
        "columns": film.stored.shape[1],
        "pixels_per_source_pixel_at_1024": film.scale,
        "foreign_object": [asdict(planted) for planted in film.objects],
        "fracture": [asdict(film.fracture)] if film.fracture else [],
    }


def _write_truth(truth: Path, done: list[_Written]) -> None:
    files = [row for written in done for row in written.files]
    films = [row for row in files if row["kind"] == "film"]
    with (truth / "truth.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in files)
    with (truth / "labels.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("sop_instance_uid", "label", "value"))
        table.writerows(
            (row["sop_instance_uid"], label, "present" if row[label] else "absent") for row in films for label in LABELS
        )
    with (truth / "boxes.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("sop_instance_uid", "label", *EDGES))
        table.writerows(
            (row["sop_instance_uid"], label, *(f"{edge:.2f}" for edge in planted["box"]))
            for row in films
            for label in LABELS
            for planted in row[label]
        )
    _write_reports(truth, [report for written in done for report in written.reports])
    values = sorted(set().union(*(written.identifying for written in done)))
    (truth / "identifying.txt").write_text("\n".join(values) + "\n", encoding="utf-8")


def _write_reports(truth: Path, reports: list[tuple[str, str, StudyReport]]) -> None:
    folder = truth.parent / "reports"
    (folder / "english").mkdir(parents=True)
    with (folder / "german.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, delimiter=";")
        table.writerow(("accession", "patient", "text"))
        table.writerows((accession, who, one.text) for accession, who, one in reports if one.language == "de")
    for accession, _, one in reports:
        if one.language == "en":
            (folder / "english" / f"{accession}.txt").write_text(one.text, encoding="utf-8")
    with (truth / "report_labels.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("accession", "label", "value"))
        table.writerows(
            (accession, label, value) for accession, _, one in reports for label, value in sorted(one.says.items())
        )


def _summary(out: Path, patients: int, done: list[_Written]) -> PhantomSummary:
    files = [row for written in done for row in written.files]
    films = [row for row in files if row["kind"] == "film"]
    return PhantomSummary(
        out=out,
        patients=patients,
        studies=len({(row["patient"], row["study"]["index"]) for row in films}),
        films=len(films),
        foreign_objects=sum(bool(row["foreign_object"]) for row in films),
        fractures=sum(bool(row["fracture"]) for row in films),
        others=dict(Counter(row["kind"] for row in files if row["kind"] != "film")),
    )
