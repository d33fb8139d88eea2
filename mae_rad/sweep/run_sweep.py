"""The ``sweep`` command: train the arms, compare their encoders on validation films, write table and curves."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.pages.plot_style import save_png
from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.evaluation.compare_runs import compare_runs
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.results.rows import read_comparison
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.sweep.arms import Arm, read_arms
from mae_rad.sweep.curves import draw_curves
from mae_rad.sweep.run_trials import FAILED, run_trials
from mae_rad.sweep.sweep_record import check_record, refuse_signed
from mae_rad.sweep.sweep_table import sweep_rows, sweep_text, write_sweep
from mae_rad.sweep.train_arms import STOPPED, GivenArms, train_arms
from mae_rad.sweep.trained_encoders import trained_encoders
from mae_rad.sweep.trial_plan import is_finetuning


def run_sweep(
    config: Path,
    settings: Sequence[str],
    *,
    out: Path,
    over: Sequence[str] = (),
    trials: int | None = None,
    metric: str | None = None,
    arm: Sequence[str] = (),
    films: int | None = None,
    equal_flops: bool = False,
    checkpoints: bool = False,
    side_by_side: int = 1,
    compare: Path,
) -> tuple[int, str]:
    """Train and compare arms, or search settings in trials; what is finished is not repeated.

    Args:
        config: YAML settings of a pretraining, or of a finetuning, which is searched in trials.
        settings: ``key=value`` settings of all trainings.
        out: folder of runs and results.
        over: ``key=value,value,…`` each, whose combinations are arms, or of which trials draw values.
        trials: number of trials; None compares arms of a pretraining, and tries every combination of a finetuning.
        metric: by which trials are chosen.
        arm: ``NAME: key=value …`` each, arms by name.
        films: films drawn by an arm (default: those of the config).
        equal_flops: give all arms the training FLOPs of the first.
        checkpoints: also score the kept checkpoints.
        side_by_side: number of trainings at the same time.
        compare: YAML settings of the comparison.

    Returns:
        Exit code, 0, FAILED or STOPPED, and the table as text.

    Raises:
        SettingsError: settings of an arm or of the comparison are wrong; nothing has been trained then.
        UserError: as ``compare``.
    """
    if side_by_side < 1:
        raise SettingsError(f"--side_by_side must be 1 or more, not {side_by_side}")
    if trials is not None or is_finetuning(config, settings):
        given = {"--arm": arm, "--equal_flops": equal_flops, "--checkpoints": checkpoints}
        if wrong := [name for name, value in given.items() if value]:
            raise SettingsError(f"{wrong[0]} is for arms of a pretraining without --trials. Leave it out")
        return run_trials(
            config, settings, out=out, over=over, trials=trials, metric=metric, films=films, side_by_side=side_by_side
        )
    if metric is not None:
        raise SettingsError(
            "--metric chooses a trial, and arms are scored by --compare. Give --trials, or leave it out"
        )
    arms = read_arms(config, settings, over=over, named=arm, out=out, films=films, equal_flops=equal_flops)
    shards = [str(path) for path in arms[0].settings.data.shards]
    refuse_signed(arms[0].settings.data.shards)
    compared = load(CompareSettings, compare, [f"shards={shards}", f"out={out / 'comparison'}"])
    if compared.score_on != "val":
        raise SettingsError(
            f"--compare: score_on is {compared.score_on}, and the arms of a sweep are chosen by these scores."
            " Set score_on: val, so that test films choose nothing"
        )
    check_record(out, {"kind": "arms"})
    source = GivenArms(arms)
    if train_arms(source, config, settings, side_by_side=side_by_side):
        return STOPPED, "a training stopped early: the same command continues it"
    failed = source.failed
    finished = [one for one in arms if one.name not in failed]
    if not finished:
        return FAILED, "\n".join(f"{name} failed: {reason}" for name, reason in failed.items())
    text = _score(arms, finished, compared, out, failed, with_checkpoints=checkpoints)
    return FAILED if failed else 0, text


def _score(
    arms: Sequence[Arm[PretrainSettings]],
    finished: Sequence[Arm[PretrainSettings]],
    settings: CompareSettings,
    out: Path,
    failed: dict[str, str],
    *,
    with_checkpoints: bool,
) -> str:
    """Compare the encoders, write the results and return them as text."""
    encoders = trained_encoders(finished, out / "encoders", with_checkpoints=with_checkpoints)
    entries = [{"run": encoder.folder, "name": encoder.name, "group": encoder.name} for encoder in encoders]
    given = settings.model_dump()
    compare_runs([], CompareSettings.model_validate(given | {"encoders": [*entries, *given["encoders"]]}))
    table = sweep_rows(arms, encoders, read_comparison(settings.out / "comparison.parquet"))
    write_sweep(table, out / "sweep.csv")
    for probe in settings.probes:
        figure = draw_curves(table, probe)
        if figure is not None:
            save_png(figure, out / f"curves_{probe}.png")
    places = f"Table: {out / 'sweep.csv'}. Differences with intervals: {settings.out / 'report.html'}"
    return f"{sweep_text(table, failed)}\n\n{places}"
