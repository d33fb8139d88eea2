"""Compare labels from the Open-i chest reports with their MeSH terms.

    mae-rad bench report_labels --folder FOLDER [--reread disagreements.csv]

FOLDER holds ``ecgen-radiology_dev.tar.gz`` and ``mesh_dev.csv`` (columns id and mesh).

A report is positive if a chest film of it gets the label ``present``. The word lists were developed on one half of
the reports, selected by a hash of the number; the other half was used for counting only. MeSH terms are those of human
indexers (column mesh); reports without indexing are left out. ``--reread`` writes up to 40 disagreements for blinded
reading: texts in random order, without either result.
"""

import argparse
import csv
import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import NamedTuple

from data_prep.errors import LabelError
from data_prep.radiology_reports.film_values import label_values, select_mentions_on_film
from data_prep.radiology_reports.mentions import find_mentions
from data_prep.radiology_reports.report_files import text_from_xml
from data_prep.settings import local_argument

GROUPS = {
    "fracture": (("fracture",), ("Fractures, Bone",)),
    "tube or line": (("tube_line",), ("Catheters, Indwelling", "Tube, Inserted")),
    "implant or electrode": (
        ("implant", "electrode_lead"),
        (
            "Implanted Medical Device",
            "Medical Device",
            "Surgical Instruments",
            "Stents",
            "Spinal Fusion",
            "Breast Implants",
            "Sutures",
        ),
    ),
    "foreign body": (("retained_object", "jewellery_clothing"), ("Foreign Bodies",)),
}
GROUPS["any object or device"] = (
    ("foreign_object",),
    tuple(term for name, (_, terms) in GROUPS.items() if name != "fracture" for term in terms),
)
REREAD = 40
"""Largest number of disagreements that are written."""


class LabelledReport(NamedTuple):
    """A report: its text, and for each group of labels the result of MeSH and of the word lists (``ours``)."""

    number: str
    text: str
    held_out: bool
    mesh: dict[str, bool]
    ours: dict[str, str]


def labelled_reports(folder: Path) -> Iterator[LabelledReport]:
    """Yield the indexed reports with both results."""
    with (folder / "mesh_dev.csv").open(newline="", encoding="utf-8") as file:
        terms = {row["id"]: row["mesh"] for row in csv.DictReader(file)}
    with tarfile.open(folder / "ecgen-radiology_dev.tar.gz") as tar:
        for number, indexed in terms.items():
            member = tar.extractfile(f"ecgen-radiology/{number.removeprefix('CXR')}.xml")
            if member is None or indexed == "No Indexing":
                continue
            text = text_from_xml(member.read())
            heads = {term.split("/")[0].strip() for term in indexed.split(";")}
            values = label_values(select_mentions_on_film(find_mentions(text, "en"), "CHEST", None))
            ours = {name: _strongest([values[label].value for label in labels]) for name, (labels, _) in GROUPS.items()}
            mesh = {name: not heads.isdisjoint(wanted) for name, (_, wanted) in GROUPS.items()}
            yield LabelledReport(number, text, hashlib.sha256(number.encode()).digest()[0] % 2 == 1, mesh, ours)


def _strongest(values: list[str]) -> str:
    return next((value for value in ("present", "uncertain", "absent") if value in values), "not_mentioned")


def counts(reports: list[LabelledReport], name: str) -> tuple[int, int, int]:
    """Count (true positives, positives of the word lists, positives of MeSH) of the group ``name``."""
    ours = [report.ours[name] == "present" for report in reports]
    mesh = [report.mesh[name] for report in reports]
    return sum(a and b for a, b in zip(ours, mesh, strict=True)), sum(ours), sum(mesh)


def write_disagreements(reports: list[LabelledReport], path: Path) -> None:
    """Write a CSV of disagreements, equally many of each group as far as possible, ordered by a hash."""
    per_group = [
        sorted(
            ((name, report) for report in reports if (report.ours[name] == "present") != report.mesh[name]),
            key=lambda row: hashlib.sha256(f"reread {row[0]} {row[1].number}".encode()).digest(),
        )
        for name in GROUPS
        if name != "any object or device"
    ]
    chosen: list[tuple[str, LabelledReport]] = []
    while len(chosen) < REREAD and any(per_group):
        chosen += [rows.pop(0) for rows in per_group if rows][: REREAD - len(chosen)]
    chosen.sort(key=lambda row: hashlib.sha256(f"order {row[0]} {row[1].number}".encode()).digest())
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("report", "finding", "text", "on the chest film? yes, no or doubtful"))
        table.writerows((report.number, name, report.text, "") for name, report in chosen)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print precision and recall with counts, per half."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench report_labels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("--folder", type=Path, required=True, metavar="FOLDER", help="folder of the reports")
    parser.add_argument("--reread", type=Path, metavar="FILE", help="CSV of disagreements to write")
    options = parser.parse_args(arguments)
    if not options.folder.exists():
        raise LabelError(f"{options.folder} does not exist. Give the folder of the Open-i reports.")
    start = process_time()
    reports = list(labelled_reports(options.folder))
    seconds = process_time() - start
    print(f"{len(reports)} reports, {len(reports) / seconds:.0f} per second of one core")
    parts = {
        "developed on": [report for report in reports if not report.held_out],
        "held out": [report for report in reports if report.held_out],
        "together": reports,
    }
    for part, members in parts.items():
        print(f"\n{part}: {len(members)} reports")
        for name in GROUPS:
            both, ours, mesh = counts(members, name)
            doubted = [report.mesh[name] for report in members if report.ours[name] == "uncertain"]
            print(
                f"  {name:<22}precision {both:>3}/{ours:<3} {both / max(ours, 1):.3f}   recall {both:>3}/{mesh:<3}"
                f" {both / max(mesh, 1):.3f}   uncertain {len(doubted)} ({sum(doubted)} in MeSH)"
            )
    if options.reread:
        write_disagreements(reports, options.reread)
