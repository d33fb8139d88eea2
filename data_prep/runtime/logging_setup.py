"""What both command lines log, and where: one line per message on standard error."""

import logging
import os

OWN = ("data_prep", "mae_rad")
"""Packages of this project, whose progress and results are shown."""


def set_up_logging() -> None:
    """Show INFO of our own loggers and WARNING of others.

    INFO is progress and results, WARNING what a person should look at, ERROR what comes before a non-zero exit. Of
    several ranks only the first shows INFO. Handlers that an embedding program has set stay as they are.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    first = os.environ.get("RANK", "0") == "0"
    for package in OWN:
        logging.getLogger(package).setLevel(logging.INFO if first else logging.WARNING)
