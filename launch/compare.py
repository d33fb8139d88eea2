"""Compare the frozen encoders of pretraining runs.

    python launch/compare.py [RUN …] [--config configs/compare/default.yaml] [key=value …]

RUN is a run folder or an exported encoder; the name of the folder names the encoder in table and figures. Runs can also
stand in the config, with foreign vectors beside them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.settings import load
from mae_rad.command_line import run

DEFAULT = Path(__file__).parent.parent / "configs" / "compare" / "default.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, compare and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="RUN|key=value", help="run folders, and settings of the config")
    parser.add_argument(
        "--config", type=Path, default=DEFAULT, help="a file of configs/compare (default: default.yaml there)"
    )
    options = parser.parse_intermixed_args(arguments)
    overrides = [word for word in options.words if "=" in word]
    runs = [Path(word) for word in options.words if "=" not in word]

    def action() -> None:
        from mae_rad.evaluation.comparison.settings import CompareSettings  # noqa: PLC0415 - --help without the seconds torch takes

        settings = load(CompareSettings, options.config, overrides)
        from mae_rad.evaluation.compare_runs import compare_runs  # noqa: PLC0415 - a wrong setting is told before torch loads

        print(compare_runs(runs, settings))

    return run(action)


if __name__ == "__main__":
    sys.exit(main())
