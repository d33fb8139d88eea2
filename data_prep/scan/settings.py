"""Settings of the ``scan`` command."""

import difflib
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from data_prep.annotations.settings import ColumnSettings, LayoutName, TableSettings
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify.vocabulary import vocabulary, without_spaces
from data_prep.settings import Settings

FactSource = Literal["header", "path", "table"]


class FactsSettings(Settings):
    """What is true of a film where header, path (``image_pattern``) and table (``columns.facts``) differ."""

    order: list[FactSource] = Field(default=["header", "table", "path"], min_length=1)
    """Sources of body part, view, side, sex and age: the first that states one is believed. What one that is left out
    states is kept and compared, but never used."""
    corrections: Path | None = None
    """CSV table with the columns key, field and value, which a person has confirmed; it comes before every source."""
    words: dict[str, str] = Field(default_factory=dict)
    """Word of this archive → body part, such as {LSG: ANKLE}; it comes before the vocabulary."""

    @field_validator("order")
    @classmethod
    def _each_once(cls, order: list[FactSource]) -> list[FactSource]:
        if len(set(order)) < len(order):
            raise ValueError("names a source twice")
        return order

    @field_validator("words")
    @classmethod
    def _known_body_parts(cls, words: dict[str, str]) -> dict[str, str]:
        terms = set(vocabulary("body_part").spellings.values())
        meanings: dict[str, str] = {}
        for word, term in words.items():
            if term not in terms:
                similar = difflib.get_close_matches(term.upper(), sorted(terms), 1)
                hint = f"; is it {similar[0]}?" if similar else f": {', '.join(sorted(terms))}"
                raise ValueError(f"{word}: {term!r} is no body part{hint}")
            compact = without_spaces(word)
            if len(compact) < 2:
                raise ValueError(f"{word!r} has fewer than two letters")
            if meanings.setdefault(compact, term) != term:
                raise ValueError(
                    f"{word!r} has two meanings, {meanings[compact]} and {term}: spaces and case do not count"
                )
        return words


class ScanSettings(ReadSettings):
    """Settings for reading an archive into the private folder."""

    key_file: Path | None = None
    """File with the secret for pseudonyms, read if the environment variable MAE_RAD_KEY is not set."""
    keys: Literal[1, 2] = 2
    """How keys are made. 1 continues a folder of earlier releases, in which a patient's key depended on the layout and
    on the spelling of the number; ``append`` names it."""
    layout: Literal[LayoutName, "auto"] | None = None
    """Public data set whose tables are read too, see ``data_prep.public_datasets``; ``auto`` detects the data set."""
    exclude_pattern: str | None = None
    r"""Regular expression: files in whose path below the archive it is found are not read, such as ``^__`` for folders
    of others that begin with two underscores. They are counted, and are no part of the scan."""
    facts: FactsSettings = FactsSettings()
    tables: TableSettings = TableSettings()
    columns: ColumnSettings = ColumnSettings()

    @field_validator("exclude_pattern")
    @classmethod
    def _is_an_expression(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if pattern == "":
            raise ValueError("is empty, and would leave out every file")
        return pattern
