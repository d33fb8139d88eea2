"""Texts of ``words.yaml`` for readers of the report who do not know the field."""

from enum import StrEnum
from importlib import resources
from typing import NamedTuple

import yaml

_TEXTS = yaml.safe_load(resources.files("data_prep.dataset_report").joinpath("words.yaml").read_text(encoding="utf-8"))


class Kind(StrEnum):
    """Group of reasons for which a file is not among the films: a key of ``kinds``."""

    NOT_MEANT = "not_meant"
    BY_RULE = "by_rule"
    UNUSABLE = "unusable"
    TWICE = "twice"


class ReasonWords(NamedTuple):
    """Explanation of a reason.

    Attributes:
        kind: group of the reason.
        name: short name.
        meaning: one or two sentences.
    """

    kind: Kind
    name: str
    meaning: str


KINDS: dict[Kind, dict[str, str]] = {Kind(kind): texts for kind, texts in _TEXTS["kinds"].items()}
REASONS: dict[str, ReasonWords] = {
    reason: ReasonWords(Kind(texts["kind"]), texts["name"], texts["meaning"])
    for reason, texts in _TEXTS["reasons"].items()
}
DISPLAY_SOURCES: dict[str, str] = _TEXTS["display_sources"]
PROVENANCE: dict[str, str] = _TEXTS["provenance"]
CODES: dict[str, str] = _TEXTS["codes"]
ALLOWED_FIELDS: dict[str, str] = _TEXTS["allowed_fields"]
NEVER: list[str] = _TEXTS["never"]
GLOSSARY: dict[str, str] = _TEXTS["glossary"]


def explain_reason(reason: str) -> ReasonWords:
    """Explain a reason; one without an entry in ``words.yaml`` is shown by its value."""
    return REASONS.get(reason, ReasonWords(Kind.UNUSABLE, reason.replace("_", " "), "See the documentation."))
