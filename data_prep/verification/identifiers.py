"""Which texts an audit looks for: all that the linkage table holds, but for words that are public anyway."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from data_prep.deidentify import header_screening
from data_prep.deidentify.allow_list import words_of
from data_prep.deidentify.header_screening import common_models
from data_prep.errors import Reason
from data_prep.planning.settings import ShardSettings
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.shard_format.label_tables import VALUES
from data_prep.shard_format.sidecar import Display, Provenance, Sidecar
from data_prep.sharding.merged_tables import DEIDENTIFICATION
from data_prep.verification.text_search import SHORT

_NAME = re.compile(r"[^\W\d_]{4,}|[^\W_]*\d[^\W_]*")
"""Words of a path: letters, or what holds digits."""
_DIGITS = 5
_DUMMY = re.compile(r"(.)\1*")


def identifiers(linkage: pa.Table) -> set[str]:
    """Original identifiers of all files: UIDs, numbers, and the parts of paths with and without their ending."""
    texts: set[str] = set()
    for name in ("sop_instance_uid", "series_uid", "study_uid", "accession", "patient_id"):
        texts.update(pc.unique(linkage[name]).drop_null().to_pylist())
    for path in linkage["path"].drop_null().to_pylist():
        texts.update(_parts(path))
    return texts


def shared_words(paths: Iterable[str], patients: Iterable[str]) -> frozenset[str]:
    """Letters in the paths of films of several patients: names of folders and findings, such as a finding is called.

    Args:
        paths: of all files.
        patients: key of the patient of each.
    """
    seen = {(part, patient) for path, patient in zip(paths, patients, strict=True) for part in _parts(path)}
    return common_models((part, patient) for part, patient in seen if not any(map(str.isdigit, part)))


def _parts(path: str) -> Iterator[str]:
    for part in path.split("/"):
        stem = part.rsplit(".", 1)[0] or part
        yield part
        yield stem
        for word in _NAME.findall(stem):
            if not any(letter.isdigit() for letter in word) or len(word) >= _DIGITS:
                yield word


def without_public_words(texts: Iterable[str]) -> set[str]:
    """The texts that no public file has to hold: neither short, nor a dummy (0000000), nor part of a public word."""
    public = _public_words()
    return {
        text
        for text in texts
        if len(text) >= SHORT
        and not _DUMMY.fullmatch(text)
        and text.lower() not in public
        and not _inside(text, public)
    }


def _inside(text: str, public: frozenset[str]) -> bool:
    lower = text.lower()
    return len(lower) < 24 and any(lower in word for word in public)


@cache
def _public_words() -> frozenset[str]:
    """Names of fields and settings, enumerations and vocabularies, in small letters."""
    words: set[str] = {
        "train",
        "val",
        "test",
        "json",
        "parquet",
        "native",
        *VALUES,
        *DEIDENTIFICATION,
        *header_screening.PHOTOMETRIC,
    }
    words.update(reason.value for reason in Reason)
    words.update(
        get_args(Provenance),
        DEIDENTIFICATION.values(),
        header_screening.SPACING_ORIGINS,
        header_screening.PRESENTATION_INTENT,
    )
    for model in (Sidecar, Display, ShardCard, DatasetCard, ShardSettings):
        words.update(_names(model))
    for schema in (INDEX_SCHEMA, LABELS_SCHEMA, BOXES_SCHEMA):
        words.update(schema.names)
    for name in ("body_part", "view", "manufacturer"):
        words.update(words_of(name))
    return frozenset(word.lower() for word in words)


def _names(model: type[BaseModel]) -> Iterator[str]:
    for name, told in model.model_fields.items():
        yield name
        for part in (told.annotation, *get_args(told.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _names(part)
            yield from _literals(part)


def _literals(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        else:
            yield from _literals(part)
