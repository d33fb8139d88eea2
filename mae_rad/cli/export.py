"""Export a trained encoder to another framework.

    mae-rad export RUN --to timm --size 512x384 [--channels 3] [--content 0.8] out=FOLDER

RUN is a run folder or an encoder folder. timm, hf_vit, hf_vit_mae and onnx take films of one size; safetensors keeps
the decoder or projection head and takes any size. Use three channels for programs that take colour images only: repeat
the film in each channel.
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from data_prep.settings import Settings, load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run

TARGETS = ("timm", "hf_vit", "hf_vit_mae", "onnx", "safetensors")


class ExportSettings(Settings):
    """Output of an export."""

    out: Path
    """Folder to write."""


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("export", __doc__, f"{__name__}:ExportSettings")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, or exported encoder")
    parser.add_argument("--to", choices=TARGETS, required=True, help="format of the result")
    parser.add_argument("--size", metavar="ROWSxCOLUMNS", help="film size in pixels; all formats but safetensors")
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1, help="image channels (default: 1)")
    parser.add_argument("--content", type=float, metavar="SHARE", default=1.0, help="share of content (default: 1)")
    parser.add_argument(
        "--step", type=int, metavar="N", help="step of a checkpoint (default: the end, else the newest)"
    )
    parser.add_argument("--trust-run", action="store_true", help="read a checkpoint that another user has written")
    parser.add_argument("settings", nargs="*", metavar="out=FOLDER", help="folder to write (required)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and export; returns the exit code."""
    options = build_parser().parse_intermixed_args(arguments)

    def action() -> None:
        settings = load(ExportSettings, None, options.settings)
        from mae_rad.export.export_run import export
        from mae_rad.export.fixed_size import FilmSize, parse_size

        size = FilmSize(*parse_size(options.size), options.channels, options.content) if options.size else None
        trusted, step = options.trust_run, options.step
        print(f"exported: {export(options.run, options.to, size, settings.out, step=step, trusted=trusted)}")

    return run(action)
