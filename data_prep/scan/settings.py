"""Settings of the ``scan`` command."""

from pathlib import Path
from typing import Literal

from data_prep.annotations.settings import ColumnSettings, LayoutName, TableSettings
from data_prep.archive.settings import ReadSettings


class ScanSettings(ReadSettings):
    """Settings for reading an archive into the private folder."""

    key_file: Path | None = None
    """File with the secret for pseudonyms, read if the environment variable MAE_RAD_KEY is not set."""
    keys: Literal[1, 2] = 2
    """How keys are made. 1 continues a folder of earlier releases, in which a patient's key depended on the layout and
    on the spelling of the number; ``append`` names it."""
    layout: Literal[LayoutName, "auto"] | None = None
    """Public data set whose tables are read too, see ``data_prep.public_datasets``; ``auto`` detects the data set."""
    tables: TableSettings = TableSettings()
    columns: ColumnSettings = ColumnSettings()
