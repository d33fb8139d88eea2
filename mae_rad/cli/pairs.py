r"""Judge strategies of pairs: statistics before any training, and a benchmark of what they teach.

    mae-rad pairs stats SHARDS… --pairs e0_instance e1_study n4_matched_negatives --out stats
    mae-rad pairs bench configs/pairs/*.yaml --out bench --films 16000 data.shards=PUBLIC

stats counts the pairs of the batches that a run would draw, from index and labels. bench trains all strategies alike
and compares the encoders; the same command continues it. Exit codes: 0 done; 3 a training failed; 75 one stopped early.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from mae_rad.cli.command_parser import add_config, command_parser
from mae_rad.command_line import run

_STATS, _BENCH = ("pairs", "passes"), ("arm", "over", "films", "side_by_side")


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    add = (parser := command_parser("pairs", __doc__)).add_argument
    add("action", choices=["stats", "bench"], help="what to do")
    add("words", nargs="*", metavar="NAME|key=value", help="stats: public folders; bench: strategies; settings")
    add("--pairs", nargs="+", default=[], metavar="NAME|FILE", help="stats: strategies, of configs/pairs")
    add_config(parser, "pretrain", default="small_cpu_simclr")
    add("--out", type=Path, metavar="FOLDER", help="folder of the results; bench needs it")
    add("--passes", type=int, default=64, metavar="N", help="stats: batches that are counted (default: 64)")
    add("--arm", action="append", default=[], metavar="'NAME: key=value …'", help="bench: another method")
    add("--over", action="append", default=[], metavar="key=a,b,…", help="bench: everything once for each value")
    add("--films", type=int, metavar="N", help="bench: films drawn by each (default: as in the config)")
    add("--side_by_side", type=int, default=1, metavar="N", help="bench: at a time (default: 1)")
    add_config(parser, "compare", option="--compare", default="pairs")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the action; returns the exit code."""
    parser = build_parser()
    given = vars(parser.parse_intermixed_args(arguments))
    is_stats, words, pairs = given.pop("action") == "stats", given.pop("words"), given["pairs"]
    names, given["pairs"] = ([word for word in some if "=" not in word] for some in (words, pairs))
    given["settings"] = [word for word in [*words, *pairs] if "=" in word]
    for name in _BENCH if is_stats else _STATS:
        if given.pop(name) != parser.get_default(name):
            parser.error(f"--{name} is for {'bench' if is_stats else 'stats'}. Leave it out")

    def action() -> int:
        if is_stats:
            from mae_rad.evaluation.pairs.pair_stats import pair_stats

            print(pair_stats(names, **{name: value for name, value in given.items() if name != "compare"}))
            return 0
        from mae_rad.pairs_bench.run_pairs_bench import run_pairs_bench

        code, text = run_pairs_bench(names, **given)
        print(text)
        return code

    return run(action)
