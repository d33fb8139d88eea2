r"""Train arms of one pretraining config, and compare them on validation films.

    mae-rad sweep --config small_cpu --out sweeps/rate --films 16000 data.shards=PUBLIC \
        --over optimizer.base_learning_rate=3e-4,1e-3,3e-3
    mae-rad sweep --config small_cpu --out sweeps/mask --equal_flops data.shards=PUBLIC \
        --arm "quarter: objective.visible=0.25" \
        --arm "half: objective.visible=0.5 objective.predicted=0.5"

Every combination of the values of --over is an arm, and so is every --arm. Each trains in a process of its own; an
interrupted sweep continues with the same command. The table is sweep.csv in --out, beside the curves as PNG; the
folder comparison has the paired differences. Exit codes: 0 done; 3 an arm failed; 75 a training stopped early.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from mae_rad.cli.command_parser import SETTINGS, add_config, command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("sweep", __doc__, SETTINGS["pretrain"])
    add_config(parser, "pretrain")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the runs and the results")
    parser.add_argument("--over", action="append", default=[], metavar="key=a,b,…", help="values of a setting")
    parser.add_argument("--arm", action="append", default=[], metavar="'NAME: key=value …'", help="an arm by name")
    parser.add_argument("--films", type=int, metavar="N", help="films drawn by an arm (default: as in the config)")
    parser.add_argument("--equal_flops", action="store_true", help="give all arms the training FLOPs of the first")
    parser.add_argument("--checkpoints", action="store_true", help="also score the kept checkpoints, for curves")
    parser.add_argument("--side_by_side", type=int, default=1, metavar="N", help="trainings at a time (default: 1)")
    add_config(parser, "compare", "--compare", default="sweep")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="pretraining settings of all arms")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, train and compare; returns the exit code."""
    options = vars(build_parser().parse_intermixed_args(arguments))

    def action() -> int:
        from mae_rad.sweep.run_sweep import run_sweep

        code, text = run_sweep(options.pop("config"), options.pop("settings"), **options)
        print(text)
        return code

    return run(action)
