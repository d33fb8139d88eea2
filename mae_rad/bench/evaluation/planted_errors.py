"""Exchange what is stated of some films, and count how many of them the list of suspects has first.

    mae-rad bench planted_errors --shards PUBLIC --out FOLDER [--column body_part] [--films 60] [--seeds 5] \
        [RUN|embeddings.parquet …]

The regions of --films films are exchanged in pairs of different regions, drawn by seed, so that every region keeps its
number of films. Each encoder, a random one of the shape of the first run, and the raw pixels rank all films as
``mae-rad suspects`` does; beside them films in random order. Precision and recall of the first --films films are equal.
What the archive states wrongly by itself counts as a mistake of the list. Intervals are Student's over the seeds.
FOLDER/planted_errors.csv has a row per encoder and seed; vectors are kept in FOLDER for later runs.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from data_prep.runtime.atomic_write import atomic_text
from data_prep.runtime.csv_text import csv_text
from data_prep.settings import local_argument
from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.seeded_random import generator_for
from mae_rad.embedding.standardised_rows import Vectors
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.candidates import find_candidates
from mae_rad.evaluation.comparison.embed_candidates import embed_all_candidates
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.label_draws import unlabelled_rows
from mae_rad.evaluation.comparison.settings import CompareSettings, EncoderEntry
from mae_rad.suspects.field_suspects import rank_field
from mae_rad.suspects.film_groups import film_groups
from mae_rad.suspects.scores import ScoreField, probe_scores
from mae_rad.suspects.settings import SuspectFieldSettings, SuspectsSettings
from mae_rad.suspects.stated_fields import StatedField, read_field

RANDOM_ORDER = "random order"
TABLE = "planted_errors.csv"
_COLUMNS = ("encoder", "seed", "planted", "precision_of_first", "listed", "listed_precision", "listed_recall",
            "expected_wrong")  # fmt: skip
_CHOOSE_ON = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all encoders, write the table and print the means; returns the exit code."""
    options = _options(arguments)
    entries = [
        EncoderEntry(run=source) if source.is_dir() else EncoderEntry(foreign=source) for source in options.sources
    ]
    settings = CompareSettings(shards=options.shards, out=options.out, encoders=entries, random_seeds=[0])
    films = Films(settings.shards)
    field = read_field(films.index, options.shards, SuspectFieldSettings(column=options.column), LabelPolicy())
    candidates = find_candidates([], settings, films.dataset_sha256)
    every = np.ones(len(films.keys), dtype=np.bool_)
    embedded = embed_all_candidates(
        candidates, settings, films.index, training_rows=unlabelled_rows(films, every), token_rows=None
    )
    rows, groups = np.arange(len(films.keys)), film_groups(films.table)
    ranked: dict[str, ScoreField] = {}
    for one in embedded:
        vectors = one.vectors(settings.choices[0], rows)
        ranked[one.name] = _ranker(vectors, one.candidate.table is not None, groups)
    measured = [
        measure(name, score, exchange(field, options.films, seed), groups, options.shards, seed)
        for seed in range(options.seeds)
        for name, score in ranked.items()
    ]
    measured += [random_order(field, options.films, seed) for seed in range(options.seeds)]
    measured.sort(key=lambda row: ([*ranked, RANDOM_ORDER].index(str(row["encoder"])), row["seed"]))
    options.out.mkdir(parents=True, exist_ok=True)
    atomic_text(options.out / TABLE, csv_text([_COLUMNS, *([row[name] for name in _COLUMNS] for row in measured)]))
    print(f"{len(field.rows):,} films of {len(field.classes)} values of {field.name}, {options.films} exchanged")
    for name in dict.fromkeys(str(row["encoder"]) for row in measured):
        print(describe(name, [row for row in measured if row["encoder"] == name]))
    return 0


def exchange(field: StatedField, films: int, seed: int) -> tuple[StatedField, NDArray[np.int64]]:
    """Exchange what is stated of films, in pairs of different classes.

    Args:
        field: classes of all films.
        films: even number of films.
        seed: of the draw.

    Returns:
        The field with exchanged classes, and the rows of those films.

    Raises:
        EvaluationError: there are not so many pairs.
    """
    left = generator_for("planted errors", seed).permutation(field.rows).tolist()
    y = field.y.copy()
    changed: list[int] = []
    while left and len(changed) < films:
        first = left.pop()
        partner = next((row for row in reversed(left) if field.y[row] != field.y[first]), None)
        if partner is None:
            break
        left.remove(partner)
        y[[first, partner]] = field.y[[partner, first]]
        changed += [first, partner]
    if len(changed) < films:
        raise EvaluationError(f"--films is {films}, but only {len(changed)} films can be exchanged. Give fewer")
    return replace(field, y=y), np.array(changed, dtype=np.int64)


def measure(
    name: str,
    score: ScoreField,
    planted: tuple[StatedField, NDArray[np.int64]],
    groups: NDArray[np.int64],
    shards: Sequence[Path],
    seed: int,
) -> dict[str, object]:
    """Rank the films of an exchanged field, and count the planted ones.

    Args:
        name: of the encoder.
        score: its predictions.
        planted: exchanged field, and its exchanged films.
        groups: [films] group of each film.
        shards: public folders.
        seed: of the exchange.

    Returns:
        A row of the table.
    """
    field, changed = planted
    scores = score(field)
    stated = np.take_along_axis(scores.scores, field.y[scores.rows][:, None], axis=1)[:, 0]
    first = scores.rows[np.argsort(stated, kind="stable")[: len(changed)]]
    found = rank_field(field, scores, groups, SuspectsSettings(shards=list(shards), out=Path("unused")))
    hits = int(np.isin(found.rows, changed).sum())
    return {
        "encoder": name, "seed": seed, "planted": len(changed),
        "precision_of_first": float(np.isin(first, changed).mean()), "listed": len(found.rows),
        "listed_precision": hits / len(found.rows) if len(found.rows) else math.nan,
        "listed_recall": hits / len(changed), "expected_wrong": found.expected.value,
    }  # fmt: skip


def random_order(field: StatedField, films: int, seed: int) -> dict[str, object]:
    """Take films in random order instead of ranked.

    Args:
        field: classes of all films.
        films: number of planted and of taken films.
        seed: of both draws.
    """
    _, changed = exchange(field, films, seed)
    taken = generator_for("random order", seed).permutation(field.rows)[:films]
    share = float(np.isin(taken, changed).mean())
    return dict.fromkeys(_COLUMNS, math.nan) | {
        "encoder": RANDOM_ORDER, "seed": seed, "planted": films, "precision_of_first": share,
    }  # fmt: skip


def describe(name: str, rows: Sequence[Mapping[str, object]]) -> str:
    """Describe the rows of an encoder: means over seeds with their intervals."""
    first = _mean(rows, "precision_of_first")
    if name == RANDOM_ORDER:
        return f"{name:<28} precision = recall of the first {first}"
    return (
        f"{name:<28} precision = recall of the first {first}; listed {_mean(rows, 'listed', 0)}, precision"
        f" {_mean(rows, 'listed_precision')}, recall {_mean(rows, 'listed_recall')}; expected wrong"
        f" {_mean(rows, 'expected_wrong', 0)}"
    )


def _mean(rows: Sequence[Mapping[str, object]], column: str, digits: int = 2) -> str:
    values = np.array([float(str(row[column])) for row in rows])
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    reach = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return f"{values.mean():.{digits}f} [{values.mean() - reach:.{digits}f}, {values.mean() + reach:.{digits}f}]"


def _ranker(vectors: Vectors, may_lack: bool, groups: NDArray[np.int64]) -> ScoreField:
    """The predictions of a probe; a film of an outside table may have no vector, which is zero then."""
    has_vector = np.any(vectors.array() != 0, axis=1) if may_lack else np.ones(len(vectors), dtype=np.bool_)
    return probe_scores(vectors, has_vector, groups, seed=0, choose_on=_CHOOSE_ON)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mae-rad bench planted_errors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.register("type", Path, local_argument)
    parser.add_argument("sources", type=Path, nargs="+", metavar="RUN|TABLE", help="runs, or tables of embeddings")
    parser.add_argument("--shards", type=Path, nargs="+", required=True, metavar="PUBLIC", help="public folders")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the table and vectors")
    parser.add_argument("--column", default="body_part", help="index column of classes (default: body_part)")
    parser.add_argument("--films", type=int, default=60, help="films that are exchanged, even (default: 60)")
    parser.add_argument("--seeds", type=int, default=5, help="number of exchanges (default: 5)")
    options = parser.parse_args(arguments)
    if options.films < 2 or options.films % 2 or options.seeds < 1:
        raise EvaluationError("--films must be an even number from 2, and --seeds at least 1")
    return options
