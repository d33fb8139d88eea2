"""Layouts of public data sets by name, and the detection of the layout of a folder."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from data_prep.annotations import coco, column_table, voc, yolo
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.settings import ColumnSettings, LayoutName
from data_prep.errors import ArchiveError
from data_prep.public_datasets import fracatlas, grazpedwri_dx, mura, nih_chestxray14, object_cxr, vindr_cxr


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
    "fracatlas": DatasetLayout(fracatlas.matches_folder, fracatlas.read),
    "coco": DatasetLayout(coco.matches_folder, coco.read),
    "voc": DatasetLayout(voc.matches_folder, voc.read),
    "yolo": DatasetLayout(yolo.matches_folder, yolo.read),
}
"""All layouts except ``table``, whose columns are settings."""

_FORMATS: tuple[LayoutName, ...] = ("coco", "voc", "yolo")
"""Layouts that are formats of many sets; a set with a layout of its own may hold their files too."""
_MAX_FOLDERS = 256
"""Folders below an archive in which a data set is looked for."""


def matching_layouts(root: Path) -> list[LayoutName]:
    """Return the names of all layouts that match a folder; of a set with a layout of its own only this one."""
    own = _own_layouts(root)
    return own or [name for name in _FORMATS if LAYOUTS[name].matches_folder(root)]


def detect_layout(root: Path) -> LayoutName:
    """Return the only layout that matches a folder.

    Raises:
        ArchiveError: none or several match, or the data set lies in a folder below.
    """
    if not _own_layouts(root):
        _check_not_below(root)
    matching = matching_layouts(root)
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise ArchiveError(f"{root} is none of the sets {', '.join(LAYOUTS)}; give its own folder, or layout=table")
    raise ArchiveError(f"{root} may be any of {', '.join(matching)}; give one of them as layout=…")


def _own_layouts(root: Path) -> list[LayoutName]:
    return [name for name, layout in LAYOUTS.items() if name not in _FORMATS and layout.matches_folder(root)]


def _check_not_below(root: Path, wanted: LayoutName | None = None) -> None:
    """Check that no data set with a layout of its own, or only the ``wanted`` one, lies one or two folders below.

    Raises:
        ArchiveError: with the folder that it lies in.
    """
    folders = (path for pattern in ("*", "*/*") for path in sorted(root.glob(pattern)) if path.is_dir())
    for folder in islice(folders, _MAX_FOLDERS):
        for name in _own_layouts(folder):
            if wanted in (None, name):
                raise ArchiveError(f"{root} is not the folder of {name}: it lies in {folder}; give that folder")


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
        if name not in (*_FORMATS, "mura") and not LAYOUTS[name].matches_folder(root):
            _check_not_below(root, name)
        LAYOUTS[name].read(root, collector)
