"""Plain words for a reader from outside the field, as ``words.yaml`` has them."""

from enum import StrEnum
from importlib import resources
from typing import NamedTuple

import yaml

_TOLD = yaml.safe_load(resources.files("data_prep.dataset_report").joinpath("words.yaml").read_text(encoding="utf-8"))


class Kind(StrEnum):
    """Why a file is not among the films, roughly: a key of ``kinds``."""

    NOT_MEANT = "not_meant"
    BY_RULE = "by_rule"
    UNUSABLE = "unusable"
    TWICE = "twice"


class ReasonWords(NamedTuple):
    """What a reason of the ledger means."""

    kind: Kind
    name: str
    meaning: str


KINDS: dict[Kind, dict[str, str]] = {Kind(kind): told for kind, told in _TOLD["kinds"].items()}
REASONS: dict[str, ReasonWords] = {
    reason: ReasonWords(Kind(told["kind"]), told["name"], told["meaning"]) for reason, told in _TOLD["reasons"].items()
}
DISPLAY_SOURCES: dict[str, str] = _TOLD["display_sources"]
PROVENANCE: dict[str, str] = _TOLD["provenance"]
CODES: dict[str, str] = _TOLD["codes"]
ALLOWED_FIELDS: dict[str, str] = _TOLD["allowed_fields"]
NEVER: list[str] = _TOLD["never"]
GLOSSARY: dict[str, str] = _TOLD["glossary"]


def reason_words(reason: str) -> ReasonWords:
    """The words of a reason; one that has none yet is told as it stands."""
    return REASONS.get(reason, ReasonWords(Kind.UNUSABLE, reason.replace("_", " "), "See the documentation."))
