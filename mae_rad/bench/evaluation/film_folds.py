"""Divide a table of films into folds by group, for data sets of few films, and write it for the scan of image files.

    mae-rad bench film_folds films.csv --file film --groups duplicates.csv --out folds.csv \
        --splits train train train test test --one_of view=frontal,lateral,oblique

A group is what must stay on one side: the films of a patient, or films that show the same exposure (--groups: a CSV
with the column of --file and ``group``); any other film is a group of its own. Its fold is a hash of its first film's
name and does not depend on other groups. --splits gives the split of each fold. The table has the columns of the input
and ``group``, ``fold``, ``split``: in the scan (layout=table) group is the patient.
"""

import argparse
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.runtime.atomic_write import atomic_text
from data_prep.settings import local_argument

_SPLITS = ("train", "val", "test")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table and print the films of each fold; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench film_folds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("films", type=Path, metavar="CSV", help="table with one row per film")
    parser.add_argument("--file", required=True, metavar="COLUMN", help="column with the file of the film")
    parser.add_argument("--groups", type=Path, metavar="CSV", help="table with that column and the column group")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table to write")
    parser.add_argument(
        "--splits", nargs="+", choices=_SPLITS, default=["train", "train", "val", "test", "test"],
        help="split of each fold (default: train train val test test)",
    )  # fmt: skip
    parser.add_argument(
        "--one_of", nargs="*", default=[], metavar="NAME=A,B,…",
        help="add a column NAME: the one of the columns A, B, … that holds 1; empty where none or several do",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    films = _read(options.films, options.file)
    group_of = (
        {row[options.file]: row["group"] for row in _read(options.groups, options.file, "group")}
        if options.groups
        else {}
    )
    rows = divide(films, options.file, group_of, options.splits)
    for text in options.one_of:
        name, _, columns = text.partition("=")
        rows = [row | {name: only_one(row, columns.split(","))} for row in rows]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_text(options.out, out.getvalue())
    for fold, split in enumerate(options.splits):
        own = [row for row in rows if row["fold"] == str(fold)]
        print(f"fold {fold} ({split}): {len(own)} films in {len({row['group'] for row in own})} groups")
    return 0


def divide(
    films: Sequence[Mapping[str, str]], file: str, group_of: Mapping[str, str], splits: Sequence[str]
) -> list[dict[str, str]]:
    """Give every film its group, fold and split.

    Args:
        films: rows with the column ``file``, each with a name of its own.
        file: column with the name of a film.
        group_of: name → group, for films that are not a group of their own.
        splits: split of each fold.

    Returns:
        The rows with the columns group, fold and split.

    Raises:
        UserError: a film is named twice.
    """
    count = Counter(row[file] for row in films)
    twice = [number for number, row in enumerate(films, start=2) if count[row[file]] > 1]
    if twice:
        raise UserError(f"{len(twice)} rows name a film that is named twice, first row {twice[0]}. Give one per film.")
    members: dict[str, list[str]] = {}
    for row in films:
        if row[file] in group_of:
            members.setdefault(group_of[row[file]], []).append(row[file])
    first = {name: min(names) for names in members.values() for name in names}
    out = []
    for row in films:
        group = first.get(row[file], row[file])
        fold = int(hashlib.sha256(f"fold {group}".encode()).hexdigest(), 16) % len(splits)
        out.append({**row, "group": group, "fold": str(fold), "split": splits[fold]})
    return out


def only_one(row: Mapping[str, str], columns: Sequence[str]) -> str:
    """Return the one of ``columns`` that holds 1 in ``row``; empty if none or several do."""
    held = [column for column in columns if row.get(column) == "1"]
    return held[0] if len(held) == 1 else ""


def _read(path: Path, *columns: str) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8 ({type(error).__name__}). Give another file.") from None
    missing = [column for column in columns if rows and column not in rows[0]]
    if not rows or missing:
        raise UserError(f"{path} has no {'rows' if not rows else 'column ' + missing[0]}. Give a table with a header.")
    return rows
