"""The ``pairs stats`` command: what strategies of pairs do in the batches that a run would draw, before training."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.folder_url import folder_name
from data_prep.pages.plot_style import save_png
from data_prep.settings import load
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.data.shard_reader import ShardIndex, numbered
from mae_rad.errors import SettingsError
from mae_rad.evaluation.pairs.asked_labels import read_asked
from mae_rad.evaluation.pairs.pair_statistics import PairStatistics, count_pairs
from mae_rad.evaluation.pairs.pair_warnings import pair_warnings
from mae_rad.evaluation.pairs.run_passes import RunPasses
from mae_rad.evaluation.pairs.statistics_figure import draw_statistics
from mae_rad.evaluation.pairs.statistics_table import statistics_rows, statistics_text, write_statistics
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.tracking import Tracker, chosen_experiment, chosen_store

PASSES = 64
"""Forward passes that are counted without another number."""

_log = logging.getLogger(__name__)


class CountedStrategies(NamedTuple):
    """Statistics of strategies.

    Attributes:
        found: strategy → statistics.
        warnings: strategy → what speaks against it; why it has no statistics.
        dataset_sha256: of the training films.
    """

    found: Mapping[str, PairStatistics]
    warnings: Mapping[str, Sequence[str]]
    dataset_sha256: str


def pair_stats(
    shards: Sequence[str],
    *,
    pairs: Sequence[str],
    config: Path,
    settings: Sequence[str],
    passes: int = PASSES,
    out: Path | None = None,
) -> str:
    """Count the pairs of strategies; with ``out``, write table and pictures there and log them to MLflow.

    Args:
        shards: public folders; their training films are counted.
        pairs: strategies, each a name of configs/pairs or a file.
        config: YAML settings of the pretraining whose batches are drawn.
        settings: ``key=value`` settings of it.
        passes: forward passes.
        out: folder of the results.

    Returns:
        The table as text.

    Raises:
        SettingsError: a setting or the name of a strategy is wrong.
        UserError: shards are missing or damaged.
    """
    if not shards or not pairs:
        raise SettingsError("give public folders, and strategies: mae-rad pairs stats SHARDS… --pairs NAME|FILE …")
    if passes < 1:
        raise SettingsError(f"--passes must be 1 or more, not {passes}")
    if out is not None and out.exists() and not out.is_dir():
        raise SettingsError(f"--out {out} is a file. Give a folder")
    places = f"data.shards={list(shards)}"
    runs = [load(PretrainSettings, config, [places, *settings, f"objective.pairs={one}"]) for one in pairs]
    counted = count_strategies(runs, passes=passes)
    text = statistics_text(counted.found, counted.warnings)
    if out is None:
        return text
    out.mkdir(parents=True, exist_ok=True)
    write_counted(counted, out)
    _track(counted, runs[0], out, passes)
    return f"{text}\n\ntable: {out / 'pairs.csv'}, a picture of each strategy beside it"


def count_strategies(runs: Sequence[PretrainSettings], *, passes: int = PASSES) -> CountedStrategies:
    """Count the pairs of runs that differ in their strategy.

    Args:
        runs: settings of runs on the same films.
        passes: forward passes.

    Raises:
        SettingsError: two strategies have the same name, or a run has no training films.
        UserError: shards are missing or damaged.
    """
    data, names = runs[0].data, [run.objective.strategy.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"two strategies are called {twice[0]}. Give each once, or a name in its file")
    index = ShardIndex(data.shards, **data.source)
    keys, patients = index.table["key"].to_pylist(), numbered(index.table["patient"])
    found: dict[str, PairStatistics] = {}
    warnings: dict[str, list[str]] = {}
    asked, rare = read_asked(keys, patients, data.shards, runs[0].labels.policy)
    if rare:
        _log.info(
            "findings of which a state has fewer than %d patients are left out: %s", MIN_PATIENTS, ", ".join(rare)
        )
    for name, run in zip(names, runs, strict=True):
        if len(index) < run.optimizer.batch:
            raise SettingsError(
                f"optimizer.batch is larger than the number of training films: {run.optimizer.batch} > {len(index)}."
                " Lower it."
            )
        pairs = run.objective.strategy
        if pairs.neighbours is not None:
            warnings[name] = ["its pairs are chosen by the encoder in the run, so that nothing is counted before"]
            continue
        try:
            found[name] = count_pairs(pairs, RunPasses(run, index), index.table, asked, count=passes)
        except SettingsError as error:
            warnings[name] = [f"it cannot be trained: {error}"]
        else:
            warnings[name] = pair_warnings(pairs, found[name])
    return CountedStrategies(found, warnings, index.dataset_sha256)


def write_counted(counted: CountedStrategies, out: Path) -> None:
    """Write the table, and a picture of each strategy.

    Args:
        counted: statistics of strategies.
        out: existing folder.
    """
    rows = [
        row
        for name, warnings in counted.warnings.items()
        for row in statistics_rows(name, counted.found.get(name), warnings)
    ]
    write_statistics(rows, out)
    for name, found in counted.found.items():
        save_png(draw_statistics(name, found), out / f"{name}.png")


def _track(counted: CountedStrategies, run: PretrainSettings, out: Path, passes: int) -> None:
    """Log a run with the metrics of every strategy, table and pictures."""
    uri = chosen_store(run.runtime.mlflow_uri, out.resolve().parent)
    tracker = Tracker.start(
        uri,
        chosen_experiment(run.runtime.experiment, "pairs"),
        out.resolve().name,
        params={"passes": passes, "batch": run.optimizer.batch, "seed": run.seed,
                "shards": [folder_name(folder) for folder in run.data.shards]},
        tags={"stage": "pairs", "dataset_sha256": counted.dataset_sha256},
    )  # fmt: skip
    for name, found in counted.found.items():
        values = {
            "coverage": found.coverage, "other_patients": found.other_patients, "purity_above_chance": found.excess,
            "false_negatives": found.false_negatives, "scanner": found.scanner,
            "scanner_other_patients": found.scanner_other_patients,
        }  # fmt: skip
        tracker.metrics({f"{name}/{key}": value for key, value in values.items() if np.isfinite(value)}, 0)
        tracker.picture(out / f"{name}.png", "")
    for file in ("pairs.csv", "pairs.parquet"):
        tracker.file(out / file, "")
    tracker.finish()
