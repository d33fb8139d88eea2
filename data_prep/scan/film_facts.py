"""What is true of a film: each fact from the sources that state it, in the order of ``facts.order``."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.image_file import groups_of_path
from data_prep.archive.stated_facts import (
    CORRECTION,
    FACTS,
    SOURCES,
    STATED_SCHEMA,
    WORDS,
    differs,
    term_column,
    word_column,
)
from data_prep.deidentify import safe_header_values
from data_prep.deidentify.vocabulary import Vocabulary, vocabulary, without_spaces
from data_prep.runtime.csv_text import csv_text
from data_prep.scan.corrections import Corrections
from data_prep.scan.settings import ScanSettings

_NAMES = {"age_years": "age"}
"""Fact → its name in ``image_pattern`` and ``columns.facts``, where that is another."""


@dataclass(frozen=True)
class FilmFacts:
    """Facts of all files.

    Attributes:
        stated: what header, path and table state (STATED_SCHEMA).
        used: columns of the manifest (USED_COLUMNS).
        unmapped: (fact, text) → films; for texts that no vocabulary has.
        doubtful: (word, term or an empty text) → films; for words that are not to be relied on, or never read.
    """

    stated: pa.Table
    used: dict[str, pa.ChunkedArray]
    unmapped: Counter[tuple[str, str]]
    doubtful: Counter[tuple[str, str]]

    def differences_csv(self, paths: pa.ChunkedArray) -> str:
        """List the films of which two sources state different facts, as CSV.

        Args:
            paths: [rows] paths of the files.
        """
        rows: list[tuple[object, ...]] = []
        for fact in FACTS:
            found = np.flatnonzero(differs(self.stated, fact).to_numpy())
            names = [term_column(fact, source) for source in SOURCES]
            columns = [self.stated["key"], paths, *(self.stated[name] for name in names)]
            columns += [self.used[fact], self.used[f"{fact}_from"]]
            cells = zip(*(column.take(pa.array(found)).to_pylist() for column in columns), strict=True)
            rows += [(key, path, fact, *values) for key, path, *values in cells]
        return csv_text([("key", "path", "field", *(f"by_{source}" for source in SOURCES), "used", "from"), *rows])


def collect_facts(
    headers: pa.Table, tables: Mapping[int, Mapping[str, str]], corrections: Corrections, settings: ScanSettings
) -> FilmFacts:
    """Collect what is stated of each film, and choose.

    Args:
        headers: header table of the files.
        tables: row of it → fact → text, as tables state them.
        corrections: what a person has confirmed.
        settings: ``facts`` and ``image_pattern`` are used.
    """
    vocabularies = {name: vocabulary(name) for name in WORDS}
    vocabularies["body_part"] = vocabularies["body_part"].with_words(settings.facts.words)
    texts = _texts(headers, tables, settings.image_pattern)
    stated: dict[str, pa.ChunkedArray] = {"row": pa.array(np.arange(headers.num_rows)), "key": headers["key"]}
    for fact, kind in FACTS.items():
        screen = _screen(fact, vocabularies)
        for source in SOURCES:
            is_header = fact not in WORDS and source == "header"
            terms = headers[fact] if is_header else _mapped(texts[fact, source], screen, kind)
            stated[term_column(fact, source)] = terms
            if fact in WORDS:
                stated[word_column(fact, source)] = texts[fact, source]
    table = pa.table([stated[name] for name in STATED_SCHEMA.names], schema=STATED_SCHEMA)
    used = _choose(table, corrections, settings)
    body_part = vocabularies["body_part"]
    used["body_part_doubtful"] = _is_doubtful(table, used, body_part)
    unmapped: Counter[tuple[str, str]] = Counter()
    for (fact, source), words in texts.items():
        if source != "header" or fact in WORDS:
            unmapped.update(_unmapped(fact, words, table[term_column(fact, source)]))
    return FilmFacts(table, used, unmapped, _doubtful_words(texts, body_part))


def with_patients_of_paths(headers: pa.Table, pattern: str | None) -> pa.Table:
    """Fill the patients of DICOM files that have none from the paths.

    Args:
        headers: header table of the files.
        pattern: the setting ``image_pattern``.
    """
    is_silent = pc.and_(pc.equal(headers["source"], "dicom"), pc.is_null(headers["patient_id"]))
    is_silent = pc.and_(is_silent, pc.is_null(headers["reason"]))
    if pattern is None or "patient" not in re.compile(pattern).groupindex or not pc.any(is_silent).as_py():
        return headers
    belows = pc.if_else(is_silent, headers["below"], "").to_pylist()
    found = pa.array(
        [groups_of_path(below, pattern).get("patient") if below else None for below in belows], pa.string()
    )
    place = headers.schema.get_field_index("patient_id")
    return headers.set_column(place, "patient_id", pc.coalesce(headers["patient_id"], found))


def _texts(
    headers: pa.Table, tables: Mapping[int, Mapping[str, str]], pattern: str | None
) -> dict[tuple[str, str], pa.Array]:
    """(fact, source) → [rows] text or null; of a header only texts for which there is a vocabulary."""
    rows, nothing = headers.num_rows, {name: pa.nulls(headers.num_rows, pa.string()) for name in FACTS}
    is_film = pc.is_null(headers["reason"]).to_pylist() if pattern else []
    belows = headers["below"].to_pylist() if pattern else []
    groups = [groups_of_path(below, pattern) if film else {} for below, film in zip(belows, is_film, strict=True)]
    texts: dict[tuple[str, str], pa.Array] = {}
    for fact in FACTS:
        name = _NAMES.get(fact, fact)
        texts[fact, "header"] = headers[f"{fact}_word"] if fact in WORDS else nothing[fact]
        texts[fact, "path"] = pa.array([group.get(name) for group in groups], pa.string()) if groups else nothing[fact]
        by_table = [tables.get(row, {}).get(name) for row in range(rows)] if tables else None
        texts[fact, "table"] = pa.array(by_table, pa.string()) if by_table is not None else nothing[fact]
    return texts


def _screen(fact: str, vocabularies: Mapping[str, Vocabulary]) -> Callable[[str], Any]:
    screens: dict[str, Callable[[str], Any]] = {
        "laterality": safe_header_values.laterality,
        "sex": safe_header_values.sex,
        "age_years": safe_header_values.age_in_years,
    }
    return vocabularies[fact].match if fact in vocabularies else screens[fact]


def _mapped(texts: pa.Array | pa.ChunkedArray, screen: Callable[[str], Any], kind: pa.DataType) -> pa.ChunkedArray:
    """[rows] value of each text; each of them is looked up once."""
    encoded = pa.chunked_array([texts] if isinstance(texts, pa.Array) else texts.chunks, pa.string())
    dictionary = encoded.combine_chunks().dictionary_encode()
    values = pa.array([screen(text) for text in dictionary.dictionary.to_pylist()], kind)
    return pa.chunked_array([values.take(dictionary.indices)])


def _choose(stated: pa.Table, corrections: Corrections, settings: ScanSettings) -> dict[str, pa.ChunkedArray]:
    """The first value of each fact in the order of the settings, after those that a person has confirmed."""
    used: dict[str, pa.ChunkedArray] = {}
    for fact, kind in FACTS.items():
        confirmed = corrections.get(fact, {})
        keys = pa.array(list(confirmed), pa.string())
        by_person = pa.array(list(confirmed.values()), kind).take(pc.index_in(stated["key"], keys))
        candidates = [(CORRECTION, by_person)]
        candidates += [(source, stated[term_column(fact, source)]) for source in settings.facts.order]
        used[fact] = pc.coalesce(*(values for _, values in candidates))
        names = (pc.if_else(pc.is_valid(values), name, pa.scalar(None, pa.string())) for name, values in candidates)
        used[f"{fact}_from"] = pc.coalesce(*names)
    return used


def _is_doubtful(stated: pa.Table, used: Mapping[str, pa.ChunkedArray], words: Vocabulary) -> pa.ChunkedArray:
    """[rows] whether the word of the body part is not to be relied on; null without a body part."""
    result = pc.if_else(pc.is_valid(used["body_part"]), False, pa.scalar(None, pa.bool_()))
    for source in SOURCES:
        texts = stated[word_column("body_part", source)]
        doubtful = _mapped(texts, lambda text: words.read(text).doubtful, pa.bool_())
        is_used = pc.fill_null(pc.equal(used["body_part_from"], source), False)
        result = pc.if_else(pc.and_(is_used, pc.fill_null(doubtful, False)), True, result)
    return result


def _unmapped(fact: str, texts: pa.Array, terms: pa.ChunkedArray) -> Counter[tuple[str, str]]:
    counts = pc.value_counts(pc.filter(texts, pc.is_null(terms)).drop_null()).to_pylist()
    return Counter({(fact, entry["values"]): entry["counts"] for entry in counts})


def _doubtful_words(texts: Mapping[tuple[str, str], pa.Array], words: Vocabulary) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for source in SOURCES:
        for entry in pc.value_counts(texts["body_part", source].drop_null()).to_pylist():
            reading = words.read(entry["values"])
            if reading.doubtful:
                word = without_spaces(entry["values"]).upper()
                found[word, reading.term or ""] += entry["counts"]
    return found
