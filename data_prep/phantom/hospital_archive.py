"""Writes the films of one patient as a hospital keeps them: folders of body parts, pseudonyms, files without ending.

BODY_PART/PATIENT/EXAMINATION/SERIES/SOP_INSTANCE_UID

Patient and examination are pseudonyms of 11 characters of the URL alphabet. The folder tells the region; the header
says what the console was set to (:mod:`data_prep.phantom.hospital_regions`).
"""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset

from data_prep.phantom.archive_settings import ArchiveSettings
from data_prep.phantom.dicom_film import file_bytes, film_dataset, list_identifying_texts, set_pixels
from data_prep.phantom.fictitious_people import person, visit
from data_prep.phantom.graded_questions import graded_labels
from data_prep.phantom.hospital_defects import REASONS, draw_defects, hospital_uid, make_defect
from data_prep.phantom.hospital_regions import HOSPITAL, REGIONS, folder_of_study, header_word
from data_prep.phantom.hospital_reports import hospital_report
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw, draw_patient
from data_prep.phantom.render_film import RenderedFilm, render
from data_prep.phantom.truth_files import PatientTruth, film_row

_IMAGE_TYPES = (["DERIVED", "PRIMARY"], ["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY", "POST_PROCESSED"],
                ["ORIGINAL", "PRIMARY", "ANALOG"])  # fmt: skip
_IMAGE_TYPE_SHARES = (0.55, 0.27, 0.12, 0.06)
_WITHOUT_AGE, _WITH_RESOLUTION, _STITCHED = 0.04, 0.5, 0.08
"""Shares of films without an age and with a spatial resolution, and of knee studies with a stitched film."""
_STITCHED_INDEX = 90
"""Number of a stitched film in its study."""


def write_hospital_patient(archive: Path, settings: ArchiveSettings, index: int) -> PatientTruth:
    """Write the files of one patient.

    Args:
        archive: folder of the archive.
        settings: of the archive.
        index: number of the patient.

    Returns:
        The truth of the patient.
    """
    patient = draw_patient(settings.seed, index, settings.patients, settings.level, settings.confound, HOSPITAL)
    truth = PatientTruth([], set(), [])
    for study in patient.studies:
        _write_study(archive, settings, patient, study, truth)
    return truth


def pseudonym(*path: object) -> str:
    """Make a pseudonym of 11 characters (letters, digits, ``-``, ``_``) of the object ``path`` of an archive."""
    digest = hashlib.sha256("/".join(map(str, path)).encode()).digest()
    return base64.urlsafe_b64encode(digest)[:11].decode()


def _write_study(
    archive: Path, settings: ArchiveSettings, patient: PatientDraw, study: StudyDraw, truth: PatientTruth
) -> None:
    seed, index = settings.seed, patient.index
    folder_region = folder_of_study(seed, index, study.index, study.body_part, settings.misfiled)
    names = pseudonym(seed, "patient", index), pseudonym(seed, "examination", index, study.index)
    truth.identifying.update(names)
    facts = {
        "region": study.body_part,
        "folder_region": folder_region,
        "header": header_word(seed, index, study.index, study.body_part),
        "examination": names[1],
    }
    folder = f"{REGIONS[folder_region].folder}/{names[0]}/{names[1]}"
    rows: list[dict[str, Any]] = []
    for draw in (film.with_contrast(settings.contrast) for film in _films(patient, study)):
        film = _render(settings, patient, study, draw)
        dataset, content, syntax = _film_file(settings, patient, study, draw, film, str(facts["header"]))
        path = _write(archive, f"{folder}/{dataset.SeriesNumber}/{dataset.SOPInstanceUID}", content)
        truth.identifying.update(list_identifying_texts(dataset))
        rows.append(film_row(path, patient, study, draw, film, str(dataset.SOPInstanceUID), syntax) | facts)
        rows[-1] |= {"stitched": draw.index == _STITCHED_INDEX}
        for kind in draw_defects(patient, study, draw, settings.patients):
            path_of_defect, content_of_defect, made = make_defect(kind, patient, study, draw, (path, dataset, content))
            truth.identifying.update(list_identifying_texts(made) if made is not None else ())
            uid = str((dataset if made is None else made).SOPInstanceUID)
            _write(archive, path_of_defect, content_of_defect)
            row = {"path": path_of_defect, "kind": kind.name.lower(), "expected_reason": REASONS[kind]}
            truth.files.append(row | {"sop_instance_uid": uid})
    truth.files.extend(rows)
    objects = [planted["kind"] for row in rows for planted in row["foreign_object"]]
    graded = {label: present for row in rows for label, present in graded_labels(row["measurements"]).items()}
    report = hospital_report(seed, index, study, any(row["fracture"] for row in rows), objects, graded, names[1])
    truth.reports.append((names[1], REGIONS[folder_region].name, report))


def _films(patient: PatientDraw, study: StudyDraw) -> list[FilmDraw]:
    """The films of a study, and for some knees a stitched film of the leg, always of the first patient."""
    films = list(study.films)
    chance = np.random.default_rng((patient.archive, patient.index, 206, study.index)).random()
    if study.body_part == "KNEE" and (chance < _STITCHED or patient.index == study.index == 0):
        first = study.films[0]
        films.append(
            replace(
                first, index=_STITCHED_INDEX, view="AP", margins=None, marker=None, objects=(), fracture=None,
                rotation=0.0, shift=(0.0, 0.0), seed=first.seed + 1,
            )
        )  # fmt: skip
    return films


def _render(settings: ArchiveSettings, patient: PatientDraw, study: StudyDraw, draw: FilmDraw) -> RenderedFilm:
    look = study.scanner if settings.scale == 1 else study.scanner.coarser(settings.scale)
    film = render(patient.anatomy, study, draw, long_side=settings.long_side, look=look, level=settings.level)
    if draw.index != _STITCHED_INDEX:
        return film
    below = render(
        patient.anatomy, replace(study, body_part="ANKLE"), replace(draw, seed=draw.seed + 1),
        long_side=settings.long_side, look=look, level=settings.level,
    )  # fmt: skip
    columns = film.stored.shape[1]
    rows = round(below.stored.shape[0] * columns / below.stored.shape[1])
    lower = cv2.resize(below.stored, (columns, rows), interpolation=cv2.INTER_AREA)
    return replace(film, stored=np.concatenate((film.stored, lower)))


def _film_file(
    settings: ArchiveSettings, patient: PatientDraw, study: StudyDraw, draw: FilmDraw, film: RenderedFilm, header: str
) -> tuple[Dataset, bytes, str]:
    """Data set with pixels, bytes and transfer syntax of the file of a film."""
    identity = person(settings.seed, patient.index, patient.anatomy, patient.studies[0].day)
    study_visit = visit(settings.seed, patient.index, study.index, study.day, study.look, patient.anatomy.sex)
    dataset = film_dataset(patient, study, draw, film, identity, study_visit)
    chance = np.random.default_rng((settings.seed, patient.index, 207, study.index, draw.index)).random(3)
    dataset.SOPInstanceUID = hospital_uid(patient, study.index, draw.index, "film")
    dataset.StudyInstanceUID = hospital_uid(patient, study.index, "study")
    dataset.SeriesInstanceUID = hospital_uid(patient, study.index, draw.index, "series")
    dataset.StudyDescription, dataset.SeriesDescription = "Röntgenaufnahme", draw.view
    dataset.RequestAttributesSequence[0].ScheduledProcedureStepDescription = "Röntgenaufnahme"
    dataset.BodyPartExamined = header
    dataset.ImageType = _IMAGE_TYPES[int(np.searchsorted(np.cumsum(_IMAGE_TYPE_SHARES), chance[0]))]
    if draw.index == _STITCHED_INDEX:
        dataset.ImageType = ["DERIVED", "PRIMARY", "STITCHED"]
    if chance[1] < _WITHOUT_AGE:
        del dataset.PatientAge
    if chance[2] < _WITH_RESOLUTION:
        dataset.SpatialResolution = "0.143"
    syntax = study.scanner.syntaxes[draw.syntax]
    set_pixels(dataset, film.stored, study.scanner.bits, syntax)
    return dataset, file_bytes(dataset, syntax), syntax


def _write(archive: Path, below: str, content: bytes) -> str:
    """Write one file; returns its path relative to the archive."""
    path = archive / below
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return below
