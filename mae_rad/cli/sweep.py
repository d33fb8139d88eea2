"""Train arms of one pretraining config, and compare them on validation films.

    mae-rad sweep --config small_cpu --out sweeps/rate --films 16000 data.shards=PUBLIC \
        --over optimizer.base_learning_rate=3e-4,1e-3,3e-3
    mae-rad sweep --config small_cpu --out sweeps/mask --equal_flops --arm "quarter: objective.visible=0.25" \
        --arm "half: objective.visible=0.5 objective.predicted=0.5" data.shards=PUBLIC

Every combination of the values of --over is an arm, and so is every --arm. Each trains in a process of its own; an
interrupted sweep continues with the same command. Test films take no part. The table is sweep.csv in --out, with the
curves as PNG; the comparison, with paired differences of the arms, is in its folder ``comparison``. A failed arm is
named with its error, and the others go on. Exit codes: 0 done; 3 an arm failed; 75 a training stopped early.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from data_prep.settings import config_file, load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, train and compare; returns the exit code."""
    parser = command_parser("sweep", __doc__)
    parser.add_argument(
        "--config", type=config_file("pretrain"), required=True, metavar="NAME|FILE",
        help="YAML settings of a pretraining: a name or a file as in configs/pretrain",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the runs and the results")
    parser.add_argument(
        "--over", action="append", default=[], metavar="key=a,b,…", help="values of a setting; may be repeated"
    )
    parser.add_argument(
        "--arm", action="append", default=[], metavar="'NAME: key=value …'", help="an arm by name; may be repeated"
    )
    parser.add_argument(
        "--films", type=int, metavar="N", help="films drawn by an arm, with repetition (default: as in the config)"
    )
    parser.add_argument(
        "--equal_flops", action="store_true", help="give all arms the training FLOPs of the first, not its films"
    )
    parser.add_argument(
        "--checkpoints", action="store_true", help="also score the kept checkpoints, for curves over films drawn"
    )
    parser.add_argument("--side_by_side", type=int, default=1, metavar="N", help="trainings at a time (default: 1)")
    parser.add_argument(
        "--compare", type=config_file("compare"), default="sweep", metavar="NAME|FILE",
        help="YAML settings of the comparison: a name or a file as in configs/compare (default: sweep)",
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="key=value", help="pretraining settings of all arms")
    options = parser.parse_intermixed_args(arguments)
    return run(lambda: _sweep(options))


def _sweep(options: argparse.Namespace) -> int:
    from data_prep.pages.plot_style import save_png
    from mae_rad.evaluation.compare_runs import compare_runs
    from mae_rad.evaluation.comparison.settings import CompareSettings
    from mae_rad.evaluation.results.rows import read_comparison
    from mae_rad.sweep.arms import read_arms
    from mae_rad.sweep.curves import draw_curves
    from mae_rad.sweep.sweep_table import sweep_rows, sweep_text, write_sweep
    from mae_rad.sweep.train_arms import STOPPED, train_arms
    from mae_rad.sweep.trained_encoders import trained_encoders

    out: Path = options.out
    arms = read_arms(
        options.config, options.settings, over=options.over, named=options.arm, out=out, films=options.films,
        equal_flops=options.equal_flops,
    )  # fmt: skip
    shards = arms[0].settings.data.shards
    compared = load(
        CompareSettings, options.compare, [f"shards={[str(path) for path in shards]}", f"out={out / 'comparison'}"]
    )
    failed, is_stopped = train_arms(arms, options.config, options.settings, side_by_side=options.side_by_side)
    if is_stopped:
        return STOPPED
    finished = [arm for arm in arms if arm.name not in failed]
    if finished:
        encoders = trained_encoders(finished, out / "encoders", with_checkpoints=options.checkpoints)
        entries = [{"run": encoder.folder, "name": encoder.name, "group": encoder.name} for encoder in encoders]
        compare_runs([], CompareSettings.model_validate(compared.model_dump() | {"encoders": entries}))
        table = sweep_rows(arms, encoders, read_comparison(out / "comparison" / "comparison.parquet"))
        write_sweep(table, out / "sweep.csv")
        for probe in compared.probes:
            figure = draw_curves(table, probe)
            if figure is not None:
                save_png(figure, out / f"curves_{probe}.png")
        print(sweep_text(table, failed))
        print(f"\nTable: {out / 'sweep.csv'}. Differences with intervals: {out / 'comparison' / 'report.html'}")
    return 3 if failed else 0
