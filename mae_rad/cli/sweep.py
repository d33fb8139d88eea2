r"""Train arms of one config and compare them, or search its settings in trials; chosen on validation films.

    mae-rad sweep --config fracture --out sweeps/fracture --trials 20 data.shards=PUBLIC \
        start_from=RUN --over optimizer.base_learning_rate=log:1e-5:1e-3 --over film.flip=0,0.5
    mae-rad sweep --config small_cpu --out sweeps/mask --equal_flops data.shards=PUBLIC \
        --arm "quarter: objective.visible=0.25" --arm "half: objective.visible=0.5"

A finetuning, and a pretraining with --trials, is searched by Optuna: a trial's settings are --over's, bad ones end
early, and the best one's test films are evaluated. A pretraining else trains every combination of --over and every
--arm, and compares them. An interrupted sweep continues with the same command; several workers may run it on one
folder. The table is sweep.csv in --out. Exit codes: 0 done; 3 a training failed; 75 one stopped early.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from mae_rad.cli.command_parser import SETTINGS, add_config, command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("sweep", __doc__, SETTINGS["pretrain"])
    add_config(parser, "pretrain", "finetune")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the runs and the results")
    parser.add_argument("--over", action="append", default=[], metavar="key=a,b,…|log:A:B", help="values of a setting")
    parser.add_argument("--trials", type=int, metavar="N", help="trials (default: every combination)")
    parser.add_argument("--metric", metavar="NAME", help="of validation films, such as val/auroc or probe/knn")
    parser.add_argument("--arm", action="append", default=[], metavar="'NAME: key=value …'", help="an arm by name")
    parser.add_argument("--films", type=int, metavar="N", help="films drawn by each (default: as in the config)")
    parser.add_argument("--equal_flops", action="store_true", help="give all arms the training FLOPs of the first")
    parser.add_argument("--checkpoints", action="store_true", help="also score the kept checkpoints, for curves")
    parser.add_argument("--side_by_side", type=int, default=1, metavar="N", help="trainings at a time (default: 1)")
    add_config(parser, "compare", option="--compare", default="sweep")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of all trainings")
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
