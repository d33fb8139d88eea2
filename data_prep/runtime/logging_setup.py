"""Logging of both command lines: one line per message on standard error."""

import logging
import os

PROJECT_PACKAGES = ("data_prep", "mae_rad")
"""Packages whose INFO messages are shown."""


def set_up_logging() -> None:
    """Show INFO of the packages of this project and WARNING of others; of several ranks only the first shows INFO.

    INFO is for progress and results, WARNING for what a person should check, ERROR for the reason of a non-zero exit.
    Existing handlers of an embedding program are kept.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    is_first_rank = os.environ.get("RANK", "0") == "0"
    for package in PROJECT_PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO if is_first_rank else logging.WARNING)
