"""Write the report page of a comparison from its folder.

python -m mae_rad.evaluation.report FOLDER
"""

import argparse
import sys
from pathlib import Path

from data_prep.settings import local_argument
from mae_rad.command_line import run
from mae_rad.evaluation.report.report_page import write_page


def main() -> int:
    """Parse the command line and write the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.register("type", Path, local_argument)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder `out` of a comparison")
    options = parser.parse_args()

    def action() -> None:
        sys.stdout.write(f"{write_page(options.folder)}\n")

    return run(action)


if __name__ == "__main__":
    sys.exit(main())
