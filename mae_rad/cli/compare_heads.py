"""Compare finished finetunings on the test films that they share, with differences paired by patient.

    mae-rad compare-heads runs/mae_head runs/simclr_head --reference runs/random_head shards=PUBLIC

Prints AUROC and average precision of each label, or AP50 and FROC of boxes, with 95 % intervals over patients; of
exclusive classes balanced accuracy, macro AUROC, accuracy, calibration error, log-loss and the classes without a film.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from data_prep.cli.command_help import CommandParser
from data_prep.folder_url import local_path
from data_prep.settings import Folders, Settings, load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


class CompareHeadsSettings(Settings):
    """Shards that the runs were tested on, and the bootstrap of the intervals."""

    shards: Folders
    """Public folders."""
    distinct_patients: bool = False
    """Folders that were made with different secrets hold no patient twice; it cannot be checked."""
    repetitions: int = Field(default=1000, ge=100)
    """Bootstrap samples of the patients."""
    seed: int = Field(default=0, ge=0)
    """Seed of the bootstrap."""


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("compare-heads", __doc__, f"{__name__}:CompareHeadsSettings")
    parser.add_argument("runs", nargs="+", metavar="RUN|key=value", help="finished finetunings; shards is required")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="RUN", help="finetuning that the others are compared to"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print the table; returns the exit code."""
    options = build_parser().parse_intermixed_args(arguments)

    def action() -> None:
        settings = load(CompareHeadsSettings, None, [value for value in options.runs if "=" in value])
        from mae_rad.finetuning.compare_heads import compare_heads, comparison_text

        reference = str(options.reference)
        runs = dict.fromkeys([reference, *(value for value in options.runs if "=" not in value)])
        rows = compare_heads({name: local_path(name) for name in runs}, reference, **settings.model_dump())
        print(comparison_text(rows, reference))
        if settings.distinct_patients:
            print("that folders of different secrets share no patient was said by the user, not checked")

    return run(action)
