"""Splits by their names in tables and folders of data sets."""

from collections.abc import Iterable
from typing import Literal

GivenSplit = Literal["train", "val", "test", "train_val"]

_STRICTEST_FIRST: tuple[GivenSplit, ...] = ("test", "val", "train_val", "train")
_NAMES: dict[str, GivenSplit] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "tune"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("train_val", "trainval"), "train_val"),
}


def strictest_split(splits: Iterable[GivenSplit]) -> GivenSplit:
    """Return the split of a film or patient with several: test before val before train_val before train."""
    return min(splits, key=_STRICTEST_FIRST.index)


def parse_split(name: str) -> GivenSplit | None:
    """Return the split of a name in a table or of a folder; None if the name is no split."""
    return _NAMES.get(name.strip().lower().replace("-", "_"))


def split_of_path(below: str) -> GivenSplit | None:
    """Return the split of the innermost folder of a path that names one; None if no folder does."""
    return next((split for part in below.split("/")[-2::-1] if (split := parse_split(part))), None)
