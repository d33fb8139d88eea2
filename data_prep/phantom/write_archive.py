"""Writes a synthetic archive as a hospital would export it, and the ground truth of every film.

OUT/archive/…            DICOM files in folders named after patients, with and without ending; they contain no labels
OUT/truth/labels.csv     sop_instance_uid, label, value: foreign_object and fracture, present or absent, for all films;
                         graded labels for the films that show them (``graded_questions``)
OUT/truth/measurements.csv  sop_instance_uid, label, number: measurements of the graded labels
OUT/truth/boxes.csv      sop_instance_uid, label and the box in source raster pixels (right and lower end exclusive)
OUT/truth/truth.jsonl    one line per file: path, kind, expected reject reason, and all draws of a film
OUT/truth/report_labels.csv  accession, label, value: labels that each report states
OUT/reports/german.csv   accession, patient, text: reports as a table
OUT/reports/english/…    reports as text files, named by accession number
OUT/truth/identifying.txt  every identifying value of the headers, one per line

The hospital layout (:mod:`data_prep.phantom.hospital_archive`) has other folders, reports and an experts' table.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from data_prep.errors import ArchiveError
from data_prep.phantom.archive_settings import ArchiveSettings
from data_prep.phantom.dicom_film import file_bytes, film_dataset, list_identifying_texts, set_pixels
from data_prep.phantom.difficulty import LEVELS, Confound
from data_prep.phantom.fictitious_people import Person, Visit, person, visit
from data_prep.phantom.graded_questions import LABELS as GRADED_LABELS
from data_prep.phantom.graded_questions import graded_labels
from data_prep.phantom.hospital_archive import write_hospital_patient
from data_prep.phantom.hospital_reports import write_tables
from data_prep.phantom.random_draws import PatientDraw, StudyDraw, draw_patient
from data_prep.phantom.render_film import render
from data_prep.phantom.report_texts import StudyReport, draw_report
from data_prep.phantom.truth_files import LABELS, PatientTruth, film_row, write_report_labels, write_truth
from data_prep.phantom.unusable_files import REASONS, UnusableFileMaker
from data_prep.runtime.progress import Progress
from data_prep.runtime.worker_pool import process_count, spawn_pool

MIN_SCALE = 0.1
Layout = Literal["general", "hospital"]


@dataclass(frozen=True)
class PhantomSummary:
    """Summary of a written archive.

    Attributes:
        out: folder of the archive.
        patients: number of patients.
        studies: number of studies.
        films: number of films.
        foreign_objects: films with a foreign object.
        fractures: films with a fracture.
        unusable_files: kind of unusable file → number.
        reports: folder of the reports.
    """

    out: Path
    patients: int
    studies: int
    films: int
    foreign_objects: int
    fractures: int
    unusable_files: dict[str, int]
    reports: Path

    def __str__(self) -> str:
        unusable_files = ", ".join(f"{count} {kind}" for kind, count in sorted(self.unusable_files.items()))
        return (
            f"{self.out}: {self.films} films in {self.studies} studies of {self.patients} patients,"
            f" {self.foreign_objects} with a foreign object, {self.fractures} with a fracture;"
            f" unusable files: {unusable_files or 'none'}\n"
            f"archive: {self.out / 'archive'}   labels and boxes: {self.out / 'truth'}   reports: {self.reports}"
        )


def write_archive(
    out: Path,
    *,
    patients: int,
    seed: int,
    workers: int = 0,
    contrast: float = 1.0,
    long_side: int | None = None,
    level: str = "hard",
    confound: str | None = None,
    scale: float = 1.0,
    layout: Layout = "general",
    misfiled: float = 0.0,
) -> PhantomSummary:
    """Write an archive; its bytes do not depend on ``workers``.

    Args:
        out: new or empty folder.
        patients: number of patients, at least 1.
        seed: seed of the archive, at least 0.
        workers: processes; 0 starts one per core.
        contrast: factor of the contrast of findings. Objects keep their positions; a fracture may be placed on another
            bone that can show the contrast.
        long_side: longer side of the films, pixels; by default that of each scanner.
        level: difficulty of the archive, a key of LEVELS.
        confound: LABEL=STRENGTH of a label that is more frequent on the first scanner, see :class:`Confound`.
        scale: pixels per side of the detector relative to that of each scanner, above 0, at most 1.
        layout: folders and headers of the archive.
        misfiled: probability that a study of the hospital layout lies in the folder of another region, 0 to 0.5.

    Raises:
        ArchiveError: the folder holds files or cannot be written, or an argument is out of range.
    """
    if patients < 1 or seed < 0 or workers < 0 or not 0 < contrast < math.inf:
        raise ArchiveError("--patients must be at least 1, --seed and --workers at least 0, --contrast above 0.")
    if level not in LEVELS:
        raise ArchiveError(f"--level is unknown: {level}. Choose one of {', '.join(LEVELS)}.")
    if not MIN_SCALE <= scale <= 1:
        raise ArchiveError(f"--scale is {scale:g}. It must be from {MIN_SCALE:g} to 1.")
    if not 0 <= misfiled <= 0.5 or (misfiled and layout != "hospital"):
        raise ArchiveError(f"--misfiled is {misfiled:g}. It must be from 0 to 0.5, and needs --layout hospital.")
    confounding = _parse_confound(confound, level) if confound is not None else None
    _prepare_folders(out)
    settings = ArchiveSettings(seed, patients, contrast, long_side, LEVELS[level], confounding, scale, misfiled)
    write_patient = write_hospital_patient if layout == "hospital" else _write_patient
    write = partial(write_patient, out / "archive", settings)
    progress = Progress("phantom", "patients", patients)
    truths: list[PatientTruth] = []
    for truth_of_patient in _write_patients(write, patients, process_count(workers, patients)):
        truths.append(truth_of_patient)
        progress.add(note=f"{sum(len(w.files) for w in truths)} files")
    progress.close()
    write_truth(out / "truth", truths)
    if layout == "hospital":
        write_tables(out, truths)
    else:
        _write_reports(out / "reports", [report for one in truths for report in one.reports])
        write_report_labels(out / "truth", truths)
    return _summary(out, patients, truths)


def identifying_values(out: Path) -> set[str]:
    """Read all identifying values that :func:`write_archive` wrote into headers of the archive ``out``.

    Raises:
        ArchiveError: the folder holds no synthetic archive.
    """
    try:
        return set((out / "truth" / "identifying.txt").read_text(encoding="utf-8").splitlines())
    except OSError:
        raise ArchiveError(f"{out} holds no synthetic archive. Make one with: mae-rad phantom") from None


def _prepare_folders(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ArchiveError(f"{out} holds files already. Give a new or an empty folder as OUT.")
        (out / "archive").mkdir()
        (out / "truth").mkdir()
    except OSError as error:
        raise ArchiveError(f"{out} cannot be written ({error.strerror}). Give another folder as OUT.") from None


def _write_patients(write: "partial[PatientTruth]", patients: int, workers: int) -> Iterator[PatientTruth]:
    """Write patients and yield their truth in order, in spawned processes if ``workers`` is above 1."""
    if workers == 1:
        yield from map(write, range(patients))
        return
    pool = spawn_pool(workers)
    try:
        yield from pool.map(write, range(patients))
    finally:
        pool.shutdown(cancel_futures=True)


def _parse_confound(text: str, level: str) -> Confound:
    label, _, number = text.partition("=")
    known = LABELS + (GRADED_LABELS if LEVELS[level].graded else ())
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if label not in known or not 0 <= strength <= 1:
        raise ArchiveError(
            f"--confound is not LABEL=STRENGTH: {text}. Labels of level {level}: {', '.join(known)}; strength: 0 to 1."
        )
    return Confound(label, strength)


def _write_patient(archive: Path, settings: ArchiveSettings, index: int) -> PatientTruth:
    seed, level = settings.seed, settings.level
    patient = draw_patient(seed, index, settings.patients, level, settings.confound)
    identity = person(seed, index, patient.anatomy, patient.studies[0].day)
    truth_of_patient = PatientTruth([], set(), [])
    for study in patient.studies:
        study_visit = visit(seed, index, study.index, study.day, study.look, patient.anatomy.sex)
        folder = _folder(patient, study, identity, study_visit)
        file_number = 0
        for draw in (film.with_contrast(settings.contrast) for film in study.films):
            scanner = study.scanner
            look = scanner if settings.scale == 1 else scanner.coarser(settings.scale)
            film = render(patient.anatomy, study, draw, long_side=settings.long_side, look=look, level=level)
            dataset = film_dataset(patient, study, draw, film, identity, study_visit)
            syntax = study.scanner.syntaxes[draw.syntax]
            set_pixels(dataset, film.stored, study.scanner.bits, syntax)
            film_bytes = file_bytes(dataset, syntax)
            truth_of_patient.identifying.update(list_identifying_texts(dataset))
            path = _write_file(archive, folder, index, file_number, film_bytes)
            truth_of_patient.files.append(
                film_row(path, patient, study, draw, film, str(dataset.SOPInstanceUID), syntax)
            )
            file_maker = UnusableFileMaker(patient, study, draw, identity, study_visit, film, dataset, film_bytes)
            for kind in draw.broken:
                file_number += 1
                content, extra_dataset = file_maker.file(kind)
                if extra_dataset is not None:
                    truth_of_patient.identifying.update(list_identifying_texts(extra_dataset))
                path = _write_file(archive, folder, index, file_number, content)
                uid = str(extra_dataset.SOPInstanceUID) if extra_dataset is not None else None
                truth_of_patient.files.append(
                    {
                        "path": path,
                        "kind": kind.name.lower(),
                        "expected_reason": REASONS[kind].value,
                        "sop_instance_uid": uid,
                    }
                )
            file_number += 1
        films = [
            row for row in truth_of_patient.files if row["kind"] == "film" and row["study"]["index"] == study.index
        ]
        objects = [planted["kind"] for row in films for planted in row["foreign_object"]]
        graded = {
            label: is_present for row in films for label, is_present in graded_labels(row["measurements"]).items()
        }
        report = draw_report(seed, index, study, any(row["fracture"] for row in films), objects, graded)
        truth_of_patient.reports.append((study_visit.accession, identity.patient_id, report))
    return truth_of_patient


def _folder(patient: PatientDraw, study: StudyDraw, identity: Person, study_visit: Visit) -> str:
    """Folder of a study, as different systems export: by name and date, or by numbers."""
    name = identity.name.replace("^", "_").upper()
    if patient.index % 3 == 2:
        return f"DICOM/{identity.patient_id}/ST{study.index:06d}/SE000001"
    return f"{name}_{identity.patient_id}/{study_visit.date}_{study.body_part}/{study_visit.accession}"


def _write_file(archive: Path, folder: str, patient: int, file_number: int, content: bytes) -> str:
    """Write one file; returns its path relative to the archive."""
    path = archive / folder / (f"IM{file_number:06d}" if patient % 2 else f"I{file_number:04d}.dcm")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path.relative_to(archive).as_posix()


def _write_reports(folder: Path, reports: list[tuple[str, str, StudyReport]]) -> None:
    (folder / "english").mkdir(parents=True)
    with (folder / "german.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, delimiter=";")
        table.writerow(("accession", "patient", "text"))
        table.writerows(
            (accession, patient, report.text) for accession, patient, report in reports if report.language == "de"
        )
    for accession, _, report in reports:
        if report.language == "en":
            (folder / "english" / f"{accession}.txt").write_text(report.text, encoding="utf-8")


def _summary(out: Path, patients: int, truths: list[PatientTruth]) -> PhantomSummary:
    files = [row for truth_of_patient in truths for row in truth_of_patient.files]
    films = [row for row in files if row["kind"] == "film"]
    return PhantomSummary(
        out=out,
        patients=patients,
        studies=len({(row["patient"], row["study"]["index"]) for row in films}),
        films=len(films),
        foreign_objects=sum(bool(row["foreign_object"]) for row in films),
        fractures=sum(bool(row["fracture"]) for row in films),
        unusable_files=dict(Counter(row["kind"] for row in files if row["kind"] != "film")),
        reports=next(path for path in (out / "reports", out / "Befundexport") if path.exists()),
    )
