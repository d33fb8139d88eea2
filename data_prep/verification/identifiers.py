"""Original identifiers that an audit searches for: the texts of the linkage table except public terms."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import permutations
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from data_prep.deidentify import safe_header_values
from data_prep.deidentify.allow_list import FACT_SOURCES, standard_terms
from data_prep.deidentify.image_type import IMAGE_TYPE_WORDS
from data_prep.deidentify.safe_header_values import shared_model_names
from data_prep.errors import Reason
from data_prep.planning.settings import ShardSettings
from data_prep.settings import setting_groups
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.shard_format.label_tables import VALUES
from data_prep.shard_format.sidecar import Display, Provenance, Sidecar
from data_prep.sharding.merged_tables import DEIDENTIFICATION
from data_prep.verification.text_search import MIN_CHARACTERS

_PATH_WORD = re.compile(r"[^\W\d_]{4,}|[^\W_]*\d[^\W_]*")
"""Words of a path: at least four letters, or letters with digits."""
_MIN_CHARACTERS_WITH_DIGITS = 5
_MAX_CHARACTERS_IN_TERM = 23
"""Longer texts are not compared with parts of public terms."""
_MAX_JOINED_WORDS = 4
"""Words of a name of a folder that are also searched for joined, such as first and last name."""
_PLACEHOLDER = re.compile(r"(.)\1*")


def collect_identifiers(linkage: pa.Table) -> set[str]:
    """Collect the original identifiers of all files: UIDs, numbers, and parts of paths.

    Args:
        linkage: table with LINKAGE_SCHEMA.
    """
    texts: set[str] = set()
    for name in ("sop_instance_uid", "series_uid", "study_uid", "accession", "patient_id"):
        texts.update(pc.unique(linkage[name]).drop_null().to_pylist())
    for path in linkage["path"].drop_null().to_pylist():
        texts.update(_path_parts(path))
    return texts


def find_shared_words(paths: Iterable[str], patients: Iterable[str]) -> frozenset[str]:
    """Find path words without digits that several patients share, such as names of findings.

    Args:
        paths: path of each file.
        patients: key of the patient of each file.
    """
    pairs = {(part, patient) for path, patient in zip(paths, patients, strict=True) for part in _path_parts(path)}
    return shared_model_names((part, patient) for part, patient in pairs if not any(map(str.isdigit, part)))


def _path_parts(path: str) -> Iterator[str]:
    """Folder and file names of a path, with and without suffix, and their words."""
    for part in path.split("/"):
        stem = part.rsplit(".", 1)[0] or part
        yield part
        yield stem
        words = _PATH_WORD.findall(stem)
        for word in words:
            if not any(letter.isdigit() for letter in word) or len(word) >= _MIN_CHARACTERS_WITH_DIGITS:
                yield word
        letters = [word for word in words if word.isalpha()][:_MAX_JOINED_WORDS]
        yield from (first + second for first, second in permutations(letters, 2))


def remove_public_terms(texts: Iterable[str]) -> set[str]:
    """Remove texts that public files may hold: short ones, placeholders such as 0000000, and parts of public terms."""
    public = _public_words()
    return {
        text
        for text in texts
        if len(text) >= MIN_CHARACTERS
        and not _PLACEHOLDER.fullmatch(text)
        and text.lower() not in public
        and not _is_part_of_term(text, public)
    }


def _is_part_of_term(text: str, public: frozenset[str]) -> bool:
    lower = text.lower()
    return len(lower) <= _MAX_CHARACTERS_IN_TERM and any(lower in term for term in public)


@cache
def _public_words() -> frozenset[str]:
    """Names of fields and settings, enumeration values and vocabularies, in lower case."""
    words: set[str] = {
        "train",
        "val",
        "test",
        "json",
        "parquet",
        "native",
        *VALUES,
        *DEIDENTIFICATION,
        *safe_header_values.PHOTOMETRIC,
        *FACT_SOURCES,
        *IMAGE_TYPE_WORDS,
    }
    words.update(reason.value for reason in Reason)
    words.update(
        get_args(Provenance),
        DEIDENTIFICATION.values(),
        safe_header_values.SPACING_ORIGINS,
        safe_header_values.PRESENTATION_INTENT,
    )
    for model in (Sidecar, Display, ShardCard, DatasetCard, ShardSettings):
        words.update(_field_texts(model))
    for schema in (INDEX_SCHEMA, LABELS_SCHEMA, BOXES_SCHEMA):
        words.update(schema.names)
    for name in ("body_part", "view", "manufacturer"):
        words.update(standard_terms(name))
    return frozenset(word.lower() for word in words)


def _field_texts(model: type[BaseModel]) -> Iterator[str]:
    """Names of all fields of a model and of its groups, and the literals that they allow."""
    for name, field in model.model_fields.items():
        yield name
        for group in setting_groups(field):
            yield from _field_texts(group)
        for part in (field.annotation, *get_args(field.annotation)):
            yield from _literals(part)


def _literals(annotation: Any) -> Iterator[str]:
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        else:
            yield from _literals(part)
