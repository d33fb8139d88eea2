"""Compare finished finetunings on the test films that all of them were tested on: differences paired by patient.

    mae-rad compare-heads runs/mae_head runs/simclr_head --reference runs/random_head shards=PUBLIC

Prints AUROC and average precision of every label, of boxes AP50 and FROC, with 95 % intervals over patients.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from data_prep.settings import Folders, Settings, load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


class CompareHeadsSettings(Settings):
    """What the runs were tested on, and how certain the intervals are."""

    shards: Folders
    repetitions: int = Field(default=1000, ge=100)
    seed: int = Field(default=0, ge=0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print the table; returns the exit code."""
    parser = command_parser("compare-heads", __doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished finetuning, or key=value")
    parser.add_argument("--reference", type=Path, required=True, metavar="RUN", help="what the others are compared to")
    options = parser.parse_intermixed_args(arguments)

    def action() -> None:
        settings = load(CompareHeadsSettings, None, [word for word in options.runs if "=" in word])
        from mae_rad.finetuning.compare_heads import against, against_text

        reference = str(options.reference)
        runs = dict.fromkeys([reference, *(word for word in options.runs if "=" not in word)])
        rows = against({name: Path(name) for name in runs}, reference, **settings.model_dump())
        print(against_text(rows, reference))

    return run(action)
