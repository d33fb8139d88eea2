"""Splits by their names in tables and folders of a set."""

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
    """Of several splits of one film or patient the one that lets nothing leak into training."""
    return min(splits, key=_STRICTEST_FIRST.index)


def split_named(name: str) -> GivenSplit | None:
    """The split that a name in a table or of a folder means; None where it means none."""
    return _NAMES.get(name.strip().lower().replace("-", "_"))


def split_of_path(below: str) -> GivenSplit | None:
    """The split that the folders of a path name, the innermost first."""
    return next((split for part in below.split("/")[-2::-1] if (split := split_named(part))), None)
