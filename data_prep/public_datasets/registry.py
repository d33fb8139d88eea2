"""Layouts of public data sets by name, and the detection of the layout of a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from data_prep.annotations import coco, column_table, voc, yolo
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.settings import ColumnSettings, LayoutName
from data_prep.errors import ArchiveError
from data_prep.public_datasets import grazpedwri_dx, mura, nih_chestxray14, object_cxr, vindr_cxr


class DatasetLayout(NamedTuple):
    """Functions of a layout.

    Attributes:
        matches_folder: whether a folder holds such a data set.
        read: reads its tables and annotation files into a collector.
    """

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
"""All layouts except ``table``, whose columns are settings."""


def matching_layouts(root: Path) -> list[LayoutName]:
    """Return the names of all layouts that match a folder."""
    return [name for name, layout in LAYOUTS.items() if layout.matches_folder(root)]


def detect_layout(root: Path) -> LayoutName:
    """Return the only layout that matches a folder.

    Raises:
        ArchiveError: none or several match.
    """
    matching = matching_layouts(root)
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise ArchiveError(f"{root} is none of the sets {', '.join(LAYOUTS)}; give its own folder, or layout=table")
    raise ArchiveError(f"{root} may be any of {', '.join(matching)}; give one of them as layout=…")


def read_layout(name: LayoutName, root: Path, collector: LabelCollector, columns: ColumnSettings) -> None:
    """Read all tables and annotation files of a data set.

    Args:
        name: of the layout.
        root: folder of the data set.
        collector: receives entries and problems.
        columns: for the layout ``table``.

    Raises:
        ArchiveError, SettingsError: a table or column is missing or damaged.
    """
    if name == "table":
        column_table.read(root, collector, columns)
    else:
        LAYOUTS[name].read(root, collector)
