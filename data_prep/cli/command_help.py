"""The argument parser of a command: its help lists the settings, an error is one line."""

import argparse
import shutil
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from data_prep.settings import local_argument
from data_prep.settings_schema import list_settings

_MAX_COLUMNS = 100


class CommandParser(argparse.ArgumentParser):
    """Parser of a command.

    Args:
        settings: ``module:class`` of the settings that the command takes as ``key=value`` (default: none); imported
            only for the help.
        keywords: as of ``argparse.ArgumentParser``.
    """

    def __init__(self, *, settings: str | None = None, **keywords: Any) -> None:
        super().__init__(formatter_class=_HelpFormatter, **keywords)
        self.register("type", Path, local_argument)  # a URL would become a local folder called s3:
        self._settings = settings

    def format_help(self) -> str:
        """Text of ``--help``, at most 100 columns wide."""
        if self._settings is None:
            return super().format_help()
        module, _, name = self._settings.partition(":")
        try:
            settings = list_settings(getattr(import_module(module), name), _columns())
        except ModuleNotFoundError as error:
            if str(error.name).startswith(("mae_rad", "data_prep")):
                raise
            settings = "    listed where the training extra is installed: pip install 'mae_rad[train]'"
        places = "key=value or in the YAML file" if "--config" in self._option_string_actions else "key=value"
        return f"{super().format_help()}\nsettings, as {places}:\n{settings}\n"

    def error(self, message: str) -> NoReturn:
        """Print the error as one line and exit with code 2."""
        hint = "" if "see: " in message else f". See: {self.prog} --help"
        self.exit(2, f"error: {' '.join(message.split())}{hint}\n")


class _HelpFormatter(argparse.HelpFormatter):
    """Reflows paragraphs of the description; indented lines, such as commands, stay as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns(), max_help_position=28)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        del indent
        paragraphs = textwrap.dedent(text).replace("``", "").strip().split("\n\n")
        return "\n\n".join(part if part.startswith(" ") else textwrap.fill(part, width) for part in paragraphs)


def _columns() -> int:
    return max(40, min(_MAX_COLUMNS, shutil.get_terminal_size().columns))
