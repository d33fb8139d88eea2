"""Train arms of one pretraining config, and compare them on validation films.

    mae-rad sweep --config small_cpu --out sweeps/rate --films 16000 data.shards=PUBLIC \
        --over optimizer.base_learning_rate=3e-4,1e-3,3e-3
    mae-rad sweep --config small_cpu --out sweeps/mask --equal_flops --arm "quarter: objective.visible=0.25" \
        --arm "half: objective.visible=0.5 objective.predicted=0.5" data.shards=PUBLIC

Every combination of the values of --over is an arm, and so is every --arm. Each trains in a process of its own; an
interrupted sweep continues with the same command. The table is sweep.csv in --out, beside the curves as PNG; the
folder comparison has the paired differences. Exit codes: 0 done; 3 an arm failed; 75 a training stopped early.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.settings import config_file
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
    parser.add_argument("--over", action="append", default=[], metavar="key=a,b,…", help="values of a setting")
    parser.add_argument("--arm", action="append", default=[], metavar="'NAME: key=value …'", help="an arm by name")
    parser.add_argument("--films", type=int, metavar="N", help="films drawn by an arm (default: as in the config)")
    parser.add_argument("--equal_flops", action="store_true", help="give all arms the training FLOPs of the first")
    parser.add_argument("--checkpoints", action="store_true", help="also score the kept checkpoints, for curves")
    parser.add_argument("--side_by_side", type=int, default=1, metavar="N", help="trainings at a time (default: 1)")
    parser.add_argument(
        "--compare", type=config_file("compare"), default="sweep", metavar="NAME|FILE",
        help="YAML settings of the comparison: a name or a file as in configs/compare (default: sweep)",
    )  # fmt: skip
    parser.add_argument("settings", nargs="*", metavar="key=value", help="pretraining settings of all arms")
    options = vars(parser.parse_intermixed_args(arguments))

    def action() -> int:
        from mae_rad.sweep.run_sweep import run_sweep

        code, text = run_sweep(options.pop("config"), options.pop("settings"), **options)
        print(text)
        return code

    return run(action)
