"""What a pretraining will cost: arithmetic, memory, hours and loader cores, before nodes are booked.

    mae-rad cost --config mae --tokens 196,1024,4096 --models vit_s,vit_b,vit_l
        --budgets 0.25/0.25,published --tflops 600 --gpus 8 [key=value …]

Nothing is trained and no shard is read. Hours are arithmetic over --tflops times --utilisation; memory is an estimate.
"""

from collections.abc import Sequence

from data_prep.settings import config_file, load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print the table; returns the exit code."""
    parser = command_parser("cost", __doc__)
    parser.add_argument(
        "--config",
        type=config_file("pretrain"),
        required=True,
        metavar="NAME|FILE",
        help="YAML, as in configs/pretrain",
    )
    parser.add_argument("--tokens", default="", help="sizes T, with commas between (default: the config's)")
    parser.add_argument("--models", default="", help="vit_t, vit_s, vit_b, vit_l (default: the config's)")
    parser.add_argument("--budgets", default="", help="visible/predicted, or published (default: the config's)")
    parser.add_argument(
        "--tflops", type=float, default=600.0, help="bare matrix rate of one GPU (default 600: an H100)"
    )
    parser.add_argument("--measure", action="store_true", help="take the rate of this machine instead")
    parser.add_argument(
        "--utilisation", type=float, default=0.4, help="share of it that training reaches (default 0.4)"
    )
    parser.add_argument("--gpus", type=int, default=8, help="GPUs in all (default 8)")
    parser.add_argument("--gpu-gib", type=float, default=80.0, help="memory of one (default 80)")
    parser.add_argument("--decode-ms", type=float, default=8.0, help="of a core for a film of T = 1024 (default 8)")
    parser.add_argument("--films", type=int, default=1_000_000, help="in the shards (default a million)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that go before the file's")
    options = parser.parse_intermixed_args(arguments)
    asked = {name: value for name, value in vars(options).items() if name not in {"config", "settings"}}

    def action() -> None:
        from mae_rad.pretraining.settings import PretrainSettings

        settings = load(PretrainSettings, options.config, options.settings)
        from mae_rad.cost.plan import plan

        print(plan(settings, **asked))

    return run(action)
