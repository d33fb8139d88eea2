"""Settings of the ``scan`` command."""

from pathlib import Path
from typing import Literal

from data_prep.annotations.settings import ColumnSettings, LayoutName, TableSettings
from data_prep.archive.settings import ReadSettings


class ScanSettings(ReadSettings):
    """Settings for reading an archive into the private folder."""

    key_file: Path | None = None
    """File with the secret for pseudonyms, read if the environment variable MAE_RAD_KEY is not set."""
    layout: Literal[LayoutName, "auto"] | None = None
    """Public data set whose tables are read too, see ``data_prep.public_datasets``; ``auto`` detects the data set."""
    tables: TableSettings = TableSettings()
    columns: ColumnSettings = ColumnSettings()
