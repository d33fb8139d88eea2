"""The ``pairs bench`` command: train every strategy, compare the encoders, write tables and page."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.runtime.folder_lock import locked
from data_prep.settings import digest, load
from mae_rad.errors import SettingsError
from mae_rad.evaluation.compare_runs import compare_runs
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.pairs.pair_stats import CountedStrategies, count_strategies, write_counted
from mae_rad.evaluation.results.rows import read_comparison
from mae_rad.pairing.settings import INSTANCE
from mae_rad.pairs_bench.bench_arms import BenchArm, bench_arms
from mae_rad.pairs_bench.bench_page import TABLE, BenchResults, summary_text, write_bench_page, write_tables
from mae_rad.pairs_bench.bench_prediction import predictions
from mae_rad.pairs_bench.bench_scores import gains, summaries
from mae_rad.pairs_bench.circular_rows import circular_rows, judged_by_experts
from mae_rad.pretraining.rate_report import rate_report
from mae_rad.sweep.parent_run import ParentRun
from mae_rad.sweep.shared_arms import SharedArms
from mae_rad.sweep.sweep_record import check_record, refuse_signed
from mae_rad.sweep.train_arms import STOPPED, train_arms

FAILED = 3
"""Exit code where a training failed."""

_log = logging.getLogger(__name__)


def run_pairs_bench(
    strategies: Sequence[str],
    *,
    config: Path,
    settings: Sequence[str],
    out: Path | None,
    arm: Sequence[str] = (),
    over: Sequence[str] = (),
    films: int | None = None,
    side_by_side: int = 1,
    compare: Path,
) -> tuple[int, str]:
    """Train and compare strategies; what is finished is not repeated, and several workers may run this on one folder.

    Args:
        strategies: names of configs/pairs, or files; e0_instance is added.
        config: YAML settings of the pretraining.
        settings: ``key=value`` settings of all trainings.
        out: folder of runs and results.
        arm: ``NAME: key=value …`` each: other methods.
        over: ``key=value,value,…`` each: everything is trained once for every combination.
        films: films drawn by each (default: those of the config).
        side_by_side: number of trainings at the same time.
        compare: YAML settings of the comparison.

    Returns:
        Exit code, 0, FAILED or STOPPED, and the summary as text.

    Raises:
        SettingsError: a setting is wrong, or the folder holds something else; nothing has been trained then.
        UserError: shards or labels are missing or damaged, or as ``compare``.
    """
    if not strategies or out is None:
        raise SettingsError("give strategies and a folder: mae-rad pairs bench NAME|FILE … --out FOLDER")
    if side_by_side < 1:
        raise SettingsError(f"--side_by_side must be 1 or more, not {side_by_side}")
    arms = bench_arms(strategies, config, settings, named=arm, over=over, films=films, out=out)
    reference = arms[-1].arm.settings
    refuse_signed(reference.data.shards)
    places = [str(path) for path in reference.data.shards]
    compared = load(CompareSettings, compare, [f"shards={places}", f"out={out / 'comparison'}"])
    counted = _count(arms)
    dataset = {"dataset_sha256": counted.dataset_sha256}
    record = {"kind": "pairs bench", "settings": reference.results(), "compare": _digest(compared), **dataset}
    check_record(out, record)
    workers = out / "workers"
    workers.mkdir(exist_ok=True)
    parent = ParentRun(
        workers, reference.runtime, out, {"strategies": sorted({one.strategy for one in arms}), **dataset}
    )
    common = [*settings, *([f"runtime.mlflow_parent={parent.run_id}"] if parent.run_id else [])]
    source = SharedArms([one.arm for one in arms], workers)
    if train_arms(source, config, common, side_by_side=side_by_side):
        return STOPPED, "a training stopped early: the same command continues it"
    if source.elsewhere:
        return 0, f"other workers train {', '.join(source.elsewhere)}; the last to finish compares"
    finished = [one for one in arms if one.arm.name not in source.failed]
    if not any(one.strategy == INSTANCE for one in finished) or len({one.group for one in finished}) < 2:
        return FAILED, "\n".join(f"{name} failed: {reason}" for name, reason in source.failed.items())
    return _conclude(arms, finished, compared, counted, source.failed, parent, out)


def _conclude(
    arms: Sequence[BenchArm],
    finished: Sequence[BenchArm],
    compared: CompareSettings,
    counted: CountedStrategies,
    failed: Mapping[str, str],
    parent: ParentRun,
    out: Path,
) -> tuple[int, str]:
    """Compare the finished arms, unless another worker does; returns exit code and text."""
    folder = out / "comparison"
    folder.mkdir(exist_ok=True)
    try:
        with locked(folder):
            results = _compare(finished, compared, counted, failed)
            write_tables(results, out)
            (out / "stats").mkdir(exist_ok=True)
            write_counted(counted, out / "stats")
            page = write_bench_page(results, out)
    except BlockingIOError:
        return 0, "another worker compares"
    metrics = {f"{one.strategy} {one.setting}".strip(): one for one in results.summaries}
    ranks = {f"{name}/mean_rank": one.mean_rank for name, one in metrics.items() if one.mean_rank is not None}
    mean_gains = {f"{name}/gain": one.gain for name, one in metrics.items() if one.gain is not None}
    tags = {f"rank.{one.statistic}": one.answer for all_ in results.predictions.values() for one in all_}
    parent.describe(ranks | mean_gains, tags, len(arms), is_complete=not failed)
    text = f"{summary_text(results)}\n\npage: {page}\ntable: {out / TABLE}"
    return (FAILED if failed else 0), text


def _compare(
    finished: Sequence[BenchArm], compared: CompareSettings, counted: CountedStrategies, failed: Mapping[str, str]
) -> BenchResults:
    """Compare encoders, those of e0_instance last, so that all differences are to them."""
    by_experts = judged_by_experts(finished, compared)
    given = compared.model_dump()
    if by_experts:
        given["policy"] = given["policy"] | {"merge": "expert_only"}
    given["encoders"] = [*_entries(finished), *given["encoders"]]
    settings = CompareSettings.model_validate(given)
    compare_runs([], settings)
    rows = read_comparison(settings.out / "comparison.parquet")
    circular = circular_rows(finished, settings)
    found = gains(rows, finished, circular)
    made = summaries(found, rows, finished)
    return BenchResults(
        found,
        made,
        {setting: predictions(counted.found, found, setting) for setting in dict.fromkeys(one.setting for one in made)},
        counted.found,
        counted.warnings,
        failed,
        _said(finished, settings, by_experts=by_experts),
    )


def _entries(finished: Sequence[BenchArm]) -> list[dict[str, Any]]:
    groups = [one.group for one in finished]
    return [
        {
            "run": one.arm.settings.runtime.run_dir,
            "name": one.group if groups.count(one.group) == 1 else one.arm.name,
            "group": one.group,
        }
        for one in finished
    ]


def _count(arms: Sequence[BenchArm]) -> CountedStrategies:
    """Count the pairs of every strategy, and log what speaks against it, before anything is trained."""
    of_strategy = {one.strategy: one for one in reversed(arms) if one.pairs.name == one.strategy}
    counted = count_strategies([one.arm.settings for one in reversed(of_strategy.values())])
    for name, warnings in counted.warnings.items():
        for warning in warnings:
            _log.warning("%s: %s", name, warning)
    return counted


def _digest(compared: CompareSettings) -> str:
    kept = compared.model_copy(update={"runtime": CompareSettings.model_fields["runtime"].default})
    return digest(kept.model_copy(update={"tracking": CompareSettings.model_fields["tracking"].default}))


def _said(finished: Sequence[BenchArm], settings: CompareSettings, *, by_experts: bool) -> list[str]:
    """What was equal for all, and what was not."""
    reference = finished[-1].arm.settings
    optimizer = reference.optimizer
    said = [
        f"All trainings draw {optimizer.steps * optimizer.batch:,} films in {optimizer.steps:,} steps of"
        f" {optimizer.batch:,}, with the augmentation and the learning rate of {INSTANCE}, for which it was chosen:"
        f" {rate_report(reference).text.rstrip('.')}. No rate was chosen for another strategy.",
        f"Scores are of {settings.score_on} films. Differences are paired: they resample the same patients"
        f" ({settings.repetitions:,} times). Their p-values are corrected by Holm over all strategies and findings of a"
        " probe, a setting and a share of labels.",
    ]
    if len({one.group for one in finished}) == len(finished):
        said.append(
            "Every strategy was trained once: the differences are of these encoders, and do not contain chance in"
            " training. --over seed=0,1,2 trains each three times."
        )
    if by_experts:
        said.append("Some strategies read labels, so that all are scored on labels of experts alone.")
    methods = [one for one in finished if one.pairs.name != one.strategy]
    said += [f"{one.strategy} is another method: {' '.join(_own(one))}." for one in methods]
    return said


def _own(one: BenchArm) -> list[str]:
    return [text for text in one.arm.overrides if not text.startswith(("runtime.", "optimizer.steps="))]
