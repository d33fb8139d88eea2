r"""Estimate the FLOPs, memory, hours and loader cores of a pretraining before nodes are booked.

    mae-rad cost --config mae --tokens 196,1024,4096 --models vit_s,vit_b,vit_l \
        --budgets 0.25/0.25,published --tflops 600 --gpus 8 [key=value …]

Nothing is trained; of shards only the index is read. Hours are FLOPs over --tflops times --utilisation, all estimated.
"""

from collections.abc import Sequence

from data_prep.cli.command_help import CommandParser
from data_prep.settings import load
from mae_rad.cli.command_parser import SETTINGS, add_config, command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("cost", __doc__, SETTINGS["pretrain"])
    add_config(parser, "pretrain")
    parser.add_argument(
        "--tokens", metavar="T,…", default="", help="content tokens T, comma-separated (default: the config's)"
    )
    parser.add_argument(
        "--models", metavar="MODEL,…", default="", help="of vit_t, vit_s, vit_b, vit_l (default: the config's)"
    )
    parser.add_argument("--budgets", metavar="V/P,…", default="", help="visible/predicted shares, or published")
    parser.add_argument("--tflops", type=float, default=600.0, help="matrix TFLOP/s of a GPU (default: 600, an H100)")
    parser.add_argument("--measure", action="store_true", help="measure that rate, and the loader's, here")
    parser.add_argument(
        "--utilisation", type=float, metavar="SHARE", default=0.4,
        help="share of that rate that training reaches (default: 0.4)",
    )  # fmt: skip
    parser.add_argument("--gpus", type=int, metavar="N", default=8, help="number of GPUs (default: 8)")
    parser.add_argument("--gpu-gib", type=float, metavar="GIB", default=80.0, help="memory of a GPU (default: 80)")
    parser.add_argument("--pixel-ns", type=float, metavar="NS", default=9.4, help="loader, a pixel (default: 9.4)")
    parser.add_argument("--stored-side", type=int, metavar="PX", default=1536, help="of stored films (default: 1536)")
    parser.add_argument(
        "--films", type=int, metavar="N", default=1_000_000, help="films in the shards (default: a million)"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that override the config file")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print the table; returns the exit code."""
    options = build_parser().parse_intermixed_args(arguments)
    estimated = {name: value for name, value in vars(options).items() if name not in {"config", "settings"}}

    def action() -> None:
        from mae_rad.pretraining.settings import PretrainSettings

        settings = load(PretrainSettings, options.config, options.settings)
        from mae_rad.cost.plan import cost_report

        print(cost_report(settings, **estimated))

    return run(action)
