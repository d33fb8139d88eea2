"""The layouts of public data sets by name, and which one a folder has."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data_prep.annotations import coco, column_table, voc, yolo
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.settings import ColumnSettings, LayoutName
from data_prep.errors import ArchiveError
from data_prep.public_datasets import grazpedwri_dx, mura, nih_chestxray14, object_cxr, vindr_cxr


class DatasetLayout(NamedTuple):
    """How a folder of the set is recognised, and how its tables are read."""

    matches_folder: Callable[[Path], bool]
    read: Callable[[Path, LabelCollector], None]


LAYOUTS: dict[LayoutName, DatasetLayout] = {
    "nih_chestxray14": DatasetLayout(nih_chestxray14.matches_folder, nih_chestxray14.read),
    "mura": DatasetLayout(mura.matches_folder, mura.read),
    "grazpedwri_dx": DatasetLayout(grazpedwri_dx.matches_folder, grazpedwri_dx.read),
    "object_cxr": DatasetLayout(object_cxr.matches_folder, object_cxr.read),
    "vindr_cxr": DatasetLayout(vindr_cxr.matches_folder, vindr_cxr.read),
    "coco": DatasetLayout(coco.matches_folder, coco.read),
    "voc": DatasetLayout(voc.matches_folder, voc.read),
    "yolo": DatasetLayout(yolo.matches_folder, yolo.read),
}
"""All but ``table``, whose columns the user names."""


def layouts_of(root: Path) -> list[LayoutName]:
    """Names of all layouts that the folder may have."""
    return [name for name, layout in LAYOUTS.items() if layout.matches_folder(root)]


def the_layout(root: Path) -> LayoutName:
    """The one layout that the folder has.

    Raises:
        ArchiveError: it has none or several.
    """
    found = layouts_of(root)
    if len(found) == 1:
        return found[0]
    if not found:
        raise ArchiveError(f"{root} is none of the sets {', '.join(LAYOUTS)}; give its own folder, or layout=table")
    raise ArchiveError(f"{root} may be any of {', '.join(found)}; give one of them as layout=…")


def read_layout(name: LayoutName, root: Path, collector: LabelCollector, columns: ColumnSettings) -> None:
    """Read all tables and annotation files of a set into ``collector``.

    Raises:
        ArchiveError, SettingsError: a table or column is missing or damaged.
    """
    if name == "table":
        column_table.read(root, collector, columns)
    else:
        LAYOUTS[name].read(root, collector)
