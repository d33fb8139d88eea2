r"""Judge strategies of pairs: statistics before any training, and a benchmark of what they teach.

    mae-rad pairs stats SHARDS… --pairs e0_instance e1_study n4_matched_negatives --out stats
    mae-rad pairs bench configs/pairs/*.yaml --out bench --films 16000 data.shards=PUBLIC

stats reads index and labels of the training films, and counts the pairs of the batches that a run would
draw. bench trains every strategy with the same settings and compares the encoders with those of
e0_instance; the same command continues it, and several workers may run it on one folder. Exit codes of
bench: 0 done; 3 a training failed; 75 one stopped early.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from data_prep.settings import folder_argument
from mae_rad.cli.command_parser import add_config, command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("pairs", __doc__)
    parser.add_argument("action", choices=["stats", "bench"], help="what to do")
    words = "SHARDS|STRATEGY|key=value"
    parser.add_argument("words", nargs="*", metavar=words, help="stats: public folders; bench: strategies; settings")
    parser.add_argument(
        "--pairs", nargs="+", default=[], metavar="NAME|FILE", help="stats: strategies, of configs/pairs"
    )
    add_config(parser, "pretrain", default="small_cpu_simclr")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the results; needed by bench")
    parser.add_argument("--passes", type=int, default=64, metavar="N", help="stats: batches counted (default: 64)")
    parser.add_argument(
        "--arm", action="append", default=[], metavar="'NAME: key=value …'", help="bench: another method"
    )
    parser.add_argument("--over", action="append", default=[], metavar="key=a,b,…", help="bench: once for each value")
    parser.add_argument("--films", type=int, metavar="N", help="bench: films drawn by each (default: as in the config)")
    parser.add_argument(
        "--side_by_side", type=int, default=1, metavar="N", help="bench: trainings at a time (default: 1)"
    )
    add_config(parser, "compare", option="--compare", default="pairs")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the action; returns the exit code."""
    parser = build_parser()
    options = parser.parse_intermixed_args(arguments)
    given = [*options.words, *options.pairs]
    settings = [word for word in given if "=" in word]
    names = [word for word in options.words if "=" not in word]
    pairs = [word for word in options.pairs if "=" not in word]
    what = "shard folder" if options.action == "stats" else "strategy"
    if not names:
        parser.error(f"no {what} is given")
    if options.action == "stats" and not pairs:
        parser.error("no strategy is given: --pairs NAME|FILE")
    if options.action == "bench" and options.out is None:
        parser.error("the following arguments are required: --out")

    def action() -> int:
        if options.action == "stats":
            from mae_rad.evaluation.pairs.pair_stats import pair_stats

            shards = [folder_argument(name) for name in names]
            print(pair_stats(shards, pairs, options.config, settings, passes=options.passes, out=options.out))
            return 0
        from mae_rad.sweep.pairs_bench import BENCH_OPTIONS, run_pairs_bench

        chosen = {name: value for name, value in vars(options).items() if name in BENCH_OPTIONS}
        code, text = run_pairs_bench(names, options.config, settings, **chosen)
        print(text)
        return code

    return run(action)
