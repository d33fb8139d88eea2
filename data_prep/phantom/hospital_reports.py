"""Reports and the experts' table of the hospital layout.

OUT/Befundexport/Befunde_REGION/Befund_EXAMINATION.txt   reports, some with two underscores, some of headings alone
OUT/experts.csv          YES, NO, Unsure per film as a data frame writes them: no name of the first column, paths of
                         another machine, cells mostly empty
OUT/truth/regions.csv    sop_instance_uid, region, folder_region, header: what a film shows, where it lies, what it says
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.phantom.hospital_regions import REGIONS
from data_prep.phantom.random_draws import StudyDraw
from data_prep.phantom.report_texts import StudyReport, draw_report
from data_prep.phantom.truth_files import PatientTruth, write_report_labels

HEADINGS_ALONE, TWO_UNDERSCORES, ANNOTATED, UNSURE = 0.15, 0.3, 0.4, 0.04
"""Shares of reports of headings alone, of reports with two underscores in their name, of examinations that the experts
have read, and of their cells that are unsure."""
_OTHER_MACHINE = "/mnt/storage/users/dataset"
_FORM = (
    "Untersuchungs-ID: {examination}\n\nUntersuchung:\n{title}\n\nKlinische Daten:\n{question}\n\nFragestellung:\n\n\n"
    "Voraufnahmen:\n\n\nBefund:\n{findings}\n\nBeurteilung:\n{conclusion}\n"
)


def hospital_report(
    seed: int, patient: int, study: StudyDraw, fracture: bool, objects: Iterable[str], graded: Mapping[str, bool],
    examination: str,
) -> StudyReport:  # fmt: skip
    """Draw the report of an examination, in German.

    Args:
        seed: seed of the archive.
        patient: number of the patient.
        study: draws of the study.
        fracture: whether a film of the study has a fracture.
        objects: kinds of the objects in the films of the study.
        graded: graded label that the films show → whether it is present.
        examination: pseudonym of the examination.
    """
    if np.random.default_rng((seed, patient, 208, study.index)).random() < HEADINGS_ALONE:
        blank = dict.fromkeys(("title", "question", "findings", "conclusion"), "")
        return StudyReport("de", _FORM.format(examination=examination, **blank), {})
    form = _FORM.replace("{examination}", examination).replace("{conclusion}", "").replace("{title}", "{part}{side}")
    return draw_report(seed, patient, study, fracture, objects, graded, form)


def write_tables(out: Path, truths: Sequence[PatientTruth]) -> None:
    """Write the reports, the experts' table and the regions of an archive.

    Args:
        out: folder of the archive.
        truths: of all patients.
    """
    for truth in truths:
        for examination, region, report in truth.reports:
            folder = out / "Befundexport" / f"Befunde_{region}"
            folder.mkdir(parents=True, exist_ok=True)
            line = "__" if _chance(examination) < TWO_UNDERSCORES else "_"
            (folder / f"Befund{line}{examination}.txt").write_text(report.text, encoding="utf-8")
    films = [row for truth in truths for row in truth.files if row["kind"] == "film"]
    columns = ("sop_instance_uid", "region", "folder_region", "header")
    with (out / "truth" / "regions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *([row[name] for name in columns] for row in films)])
    with (out / "experts.csv").open("w", encoding="utf-8", newline="") as file:
        header = ("", "path", "fracture", "foreignmaterial", "bodypart", "bodypart_original")
        csv.writer(file).writerows([header, *(_expert_row(k, row) for k, row in enumerate(films))])
    write_report_labels(out / "truth", truths, "examination")


def _expert_row(number: int, row: dict[str, Any]) -> list[object]:
    """A row of the experts' table; of examinations that they have not read, only path and body part."""
    region, of_folder = REGIONS[row["region"]], REGIONS[row["folder_region"]]
    below = row["path"].split("/", 1)[1]
    path = f"{_OTHER_MACHINE}/{of_folder.folder.removeprefix('DX_').split('_')[0].lower()}/{below}"
    if _chance(row["examination"], "read") >= ANNOTATED:
        return [number, path, "", "", "", of_folder.name]
    words = [
        "Unsure" if _chance(row["sop_instance_uid"], label) < UNSURE else "YES" if row[label] else "NO"
        for label in ("fracture", "foreign_object")
    ]
    return [number, path, *words, region.name, of_folder.name]


def _chance(*path: str) -> float:
    """A number from 0 to 1 that depends on names alone."""
    return float(np.random.default_rng(list("/".join(path).encode())).random())
