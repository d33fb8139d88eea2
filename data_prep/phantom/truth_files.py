"""Files of the truth of a synthetic archive, see :mod:`data_prep.phantom.write_archive`."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_prep.phantom.graded_questions import graded_labels, measure_film
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw
from data_prep.phantom.render_film import RenderedFilm
from data_prep.phantom.report_texts import StudyReport
from data_prep.shard_format.boxes import EDGES

LABELS = ("foreign_object", "fracture")
"""Labels of every film."""


@dataclass(frozen=True)
class PatientTruth:
    """Rows of the truth of one patient.

    Attributes:
        files: one of each file.
        identifying: identifying values of the headers.
        reports: (accession number or name of the examination, patient number or folder, report) of every study.
    """

    files: list[dict[str, Any]]
    identifying: set[str]
    reports: list[tuple[str, str, StudyReport]]


def film_row(
    path: str, patient: PatientDraw, study: StudyDraw, draw: FilmDraw, film: RenderedFilm, uid: str, syntax: str
) -> dict[str, Any]:
    """The row of a film in the truth.

    Args:
        path: of its file, relative to the archive.
        patient: draws of the patient.
        study: draws of the study.
        draw: draws of the film.
        film: the rendered film.
        uid: SOP Instance UID.
        syntax: transfer syntax UID.
    """
    scanner = study.scanner
    return {
        "path": path,
        "kind": "film",
        "expected_reason": None,
        "sop_instance_uid": uid,
        "patient": patient.index,
        "anatomy": {name: value for name, value in asdict(patient.anatomy).items() if value is not None},
        "study": {"index": study.index, "body_part": study.body_part, "side": study.side, "day": study.day},
        "scanner": {
            "look": study.look,
            "manufacturer": scanner.manufacturer,
            "model": scanner.model,
            "bits": scanner.bits,
        },
        "syntax": syntax,
        "draw": asdict(draw),
        "rows": film.stored.shape[0],
        "columns": film.stored.shape[1],
        "pixels_per_source_pixel_at_1024": film.scale,
        "foreign_object": [asdict(planted) for planted in film.objects],
        "fracture": [asdict(film.fracture)] if film.fracture else [],
        "measurements": measure_film(patient.anatomy, study.body_part, draw.view),
    }


def write_truth(truth: Path, truths: Sequence[PatientTruth]) -> None:
    """Write the tables of the truth, without those of reports.

    Args:
        truth: folder, which exists.
        truths: of all patients.
    """
    files = [row for truth_of_patient in truths for row in truth_of_patient.files]
    films = [row for row in files if row["kind"] == "film"]
    with (truth / "truth.jsonl").open("w", encoding="utf-8") as out:
        rows = ({name: value for name, value in row.items() if value != {}} for row in files)
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with (truth / "labels.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("sop_instance_uid", "label", "value"))
        table.writerows(
            (row["sop_instance_uid"], label, "present" if is_present else "absent")
            for row in films
            for label, is_present in _film_labels(row).items()
        )
    if any(row["measurements"] for row in films):
        _write_measurements(truth / "measurements.csv", films)
    with (truth / "boxes.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("sop_instance_uid", "label", *EDGES))
        table.writerows(
            (row["sop_instance_uid"], label, *(f"{edge:.2f}" for edge in planted["box"]))
            for row in films
            for label in LABELS
            for planted in row[label]
        )
    values = sorted(set().union(*(truth_of_patient.identifying for truth_of_patient in truths)))
    (truth / "identifying.txt").write_text("\n".join(values) + "\n", encoding="utf-8")


def _film_labels(row: dict[str, Any]) -> dict[str, bool]:
    return {label: bool(row[label]) for label in LABELS} | graded_labels(row["measurements"])


def _write_measurements(path: Path, films: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(("sop_instance_uid", "label", "number"))
        table.writerows(
            (row["sop_instance_uid"], name, f"{number:.4f}")
            for row in films
            for name, number in row["measurements"].items()
        )


def write_report_labels(truth: Path, truths: Sequence[PatientTruth], study: str = "accession") -> None:
    """Write the labels that the reports state.

    Args:
        truth: folder, which exists.
        truths: of all patients.
        study: name of the column that identifies the study.
    """
    with (truth / "report_labels.csv").open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow((study, "label", "value"))
        table.writerows(
            (accession, label, value)
            for truth_of_patient in truths
            for accession, _, report in truth_of_patient.reports
            for label, value in sorted(report.labels.items())
        )
