"""Labels from the Open-i chest reports against their MeSH terms.

    mae-rad bench report_labels --folder FOLDER [--reread disagreements.csv]

FOLDER holds ``ecgen-radiology_dev.tar.gz`` and ``mesh_dev.csv`` (columns id and mesh).

A report counts as positive where a chest film of it gets the label ``present``. The word lists were developed on one
half of the reports, chosen by a hash of the number; the other half was only counted. Terms are those that a person gave
(column mesh); reports that nobody has indexed are left out. ``--reread`` writes up to 40 disagreements for blind
reading: texts in random order, without what either side says.
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
from data_prep.radiology_reports.film_values import conclusions, on_film
from data_prep.radiology_reports.mentions import find_mentions
from data_prep.radiology_reports.report_files import of_xml

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


class LabelledReport(NamedTuple):
    """One report: its text, and for each group what MeSH and what we say."""

    number: str
    text: str
    held_out: bool
    mesh: dict[str, bool]
    ours: dict[str, str]


def labelled_reports(folder: Path) -> Iterator[LabelledReport]:
    """All indexed reports."""
    with (folder / "mesh_dev.csv").open(newline="", encoding="utf-8") as file:
        terms = {row["id"]: row["mesh"] for row in csv.DictReader(file)}
    with tarfile.open(folder / "ecgen-radiology_dev.tar.gz") as tar:
        for number, indexed in terms.items():
            member = tar.extractfile(f"ecgen-radiology/{number.removeprefix('CXR')}.xml")
            if member is None or indexed == "No Indexing":
                continue
            text = of_xml(member.read())
            heads = {term.split("/")[0].strip() for term in indexed.split(";")}
            said = conclusions(on_film(find_mentions(text, "en"), "CHEST", None))
            ours = {name: _strongest([said[label].value for label in labels]) for name, (labels, _) in GROUPS.items()}
            mesh = {name: not heads.isdisjoint(wanted) for name, (_, wanted) in GROUPS.items()}
            yield LabelledReport(number, text, hashlib.sha256(number.encode()).digest()[0] % 2 == 1, mesh, ours)


def _strongest(values: list[str]) -> str:
    return next((value for value in ("present", "uncertain", "absent") if value in values), "not_mentioned")


def counts(reports: list[LabelledReport], name: str) -> tuple[int, int, int]:
    """(true positives, positives of ours, positives of MeSH)."""
    ours = [one.ours[name] == "present" for one in reports]
    mesh = [one.mesh[name] for one in reports]
    return sum(a and b for a, b in zip(ours, mesh, strict=True)), sum(ours), sum(mesh)


def write_disagreements(reports: list[LabelledReport], path: Path) -> None:
    """Up to 40, as many of each group as there is room for, ordered by a hash."""
    per_group = [
        sorted(
            ((name, one) for one in reports if (one.ours[name] == "present") != one.mesh[name]),
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
        table.writerows((one.number, name, one.text, "") for name, one in chosen)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print precision and recall with counts, per half."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench report_labels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--reread", type=Path)
    chosen = parser.parse_args(arguments)
    if not chosen.folder.exists():
        raise LabelError(f"{chosen.folder} does not exist. Give the folder of the Open-i reports.")
    start = process_time()
    reports = list(labelled_reports(chosen.folder))
    seconds = process_time() - start
    print(f"{len(reports)} reports, {len(reports) / seconds:.0f} per second of one core")
    parts = {
        "developed on": [one for one in reports if not one.held_out],
        "held out": [one for one in reports if one.held_out],
        "together": reports,
    }
    for part, ones in parts.items():
        print(f"\n{part}: {len(ones)} reports")
        for name in GROUPS:
            both, ours, mesh = counts(ones, name)
            doubted = [one.mesh[name] for one in ones if one.ours[name] == "uncertain"]
            print(
                f"  {name:<22}precision {both:>3}/{ours:<3} {both / max(ours, 1):.3f}   recall {both:>3}/{mesh:<3}"
                f" {both / max(mesh, 1):.3f}   uncertain {len(doubted)} ({sum(doubted)} in MeSH)"
            )
    if chosen.reread:
        write_disagreements(reports, chosen.reread)
