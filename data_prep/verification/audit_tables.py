"""Audit of the tables and cards of a public folder."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_prep.deidentify.allow_list import SIDECAR_RULES, hexadecimal, provenance
from data_prep.errors import Reason
from data_prep.planning.settings import ShardSettings
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard
from data_prep.shard_format.folder_layout import FILM_SUFFIXES
from data_prep.shard_format.label_tables import AGREEMENT_SCHEMA, MERGED, SOURCES, STATISTICS, STATISTICS_SCHEMA, VALUES
from data_prep.shard_format.parquet_bytes import index_bytes
from data_prep.shard_format.sidecar import SPLITS
from data_prep.sharding.merged_tables import DEIDENTIFICATION
from data_prep.verification.container_bytes import parquet_problems
from data_prep.verification.text_search import Needles

_COUNTS = (STATISTICS_SCHEMA, AGREEMENT_SCHEMA)
SHARD_NAME = re.compile(rf"(?:{'|'.join(SPLITS)})-\d{{6,9}}")
_LABEL = re.compile(r"[a-z0-9_]{1,64}")
_SETTING_WORDS = frozenset({"native", "keep", "reject", "train", *FILM_SUFFIXES})
_HASH = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{32})\b")
_REASONS = frozenset(reason.value for reason in Reason)


def without_hashes(text: str) -> str:
    """Text without keys and checksums, in which short numbers occur by chance."""
    return _HASH.sub(" ", text)


def card_problems(data: bytes, card: DatasetCard, needles: Needles) -> Iterator[str]:
    """What of ``dataset.json`` is not allowed."""
    if data != json.dumps(card.model_dump(mode="json"), indent=2, sort_keys=True).encode():
        yield "holds more than its card"
    hashes = {
        "dataset_sha256": (card.dataset_sha256, 64),
        "config_sha256": (card.config_sha256, 64),
        "key_fingerprint": (card.key_fingerprint, 32),
    }
    yield from (f"{name} is no hash" for name, (value, digits) in hashes.items() if not hexadecimal(value, digits))
    if card.plan_sha256 and not hexadecimal(card.plan_sha256, 64):
        yield "plan_sha256 is no hash"
    if card.after is not None and not hexadecimal(card.after, 64):
        yield "after is no hash"
    if not set(card.reasons) <= _REASONS:
        yield "reasons holds unknown words"
    told = [*card.quarantined, *(pair for retry in card.retries for pair in retry)]
    if not {reason for _, reason in told} <= _REASONS:
        yield "quarantined or retries hold unknown words"
    if card.deidentification != DEIDENTIFICATION:
        yield "deidentification is not what this release does"
    shards = card.shards.items()
    if not all(
        name.endswith(".tar") and SHARD_NAME.fullmatch(name[:-4]) and hexadecimal(sha256, 64) for name, sha256 in shards
    ):
        yield "shards holds other names than those of shards, or no checksums"
    yield from _setting_problems(card.config)
    if needles.in_text(without_hashes(data.decode("utf-8", "replace"))):
        yield "an original identifier occurs"


def _setting_problems(config: Mapping[str, Any]) -> Iterator[str]:
    try:
        ShardSettings.model_validate(config)
    except ValidationError:
        yield "config holds unknown settings"
    for word in _texts(config):
        if word not in _SETTING_WORDS and not hexadecimal(word, 64):
            yield "config holds a text that is no setting"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def shard_card_problems(data: bytes, card: ShardCard, stem: str) -> Iterator[str]:
    """What of ``<shard>.json`` is not allowed, apart from the form of its JSON."""
    hashes = (card.config_sha256, card.inputs_sha256, card.tar_sha256, card.index_sha256)
    if not all(hexadecimal(value, 64) for value in hashes):
        yield "the card holds something else than hashes"
    if card.shard != stem or not {reason for _, reason in card.rejects} <= _REASONS:
        yield "the card holds unknown words"


def table_problems(name: str, data: bytes, schemas: Sequence[pa.Schema], needles: Needles) -> Iterator[str]:
    """What of a Parquet file of the public folder is not allowed."""
    problems = list(parquet_problems(data, *schemas))
    yield from problems
    if problems:
        return
    table = pq.read_table(pa.BufferReader(data))
    if _same_writer(data) and index_bytes(table) != data:
        yield "the bytes are not those of the table"
    for column in table.column_names:
        rule = _column_rule(name, column)
        values = pc.unique(table[column]) if not pa.types.is_nested(table[column].type) else table[column]
        for value in values.to_pylist():
            if not rule(value):
                yield f"{column} holds a value that is not on the allow-list"
                break
            if isinstance(value, str) and needles.in_text(without_hashes(value)):
                yield f"{column}: an original identifier occurs"
                break


def _same_writer(data: bytes) -> bool:
    return bool(
        pq.ParquetFile(pa.BufferReader(data)).metadata.created_by == f"parquet-cpp-arrow version {pa.__version__}"
    )


def _column_rule(name: str, column: str) -> Any:
    """The rule for a column: that of the sidecar where it has the field; a column without a rule passes nothing."""
    number = (int, float, type(None))
    own: dict[str, Any] = {
        "shard": lambda value: (
            isinstance(value, str) and value.endswith(".tar") and SHARD_NAME.fullmatch(value[:-4]) is not None
        ),
        "display_source": lambda value: value in ("voi_lut", "window", "percentile", "declared_range"),
        "display_invert": lambda value: isinstance(value, bool),
        "polarity_suspect": lambda value: value is None or isinstance(value, bool),
        "same_pixels_as": lambda value: value is None or hexadecimal(value, 32),
        "provenance": lambda value: value is None or provenance(value),
        "perceptual_hash": lambda value: value is None or (type(value) is int and 0 <= value < 2**64),
        "label": lambda value: isinstance(value, str) and _LABEL.fullmatch(value) is not None,
        "reason": lambda value: value in _REASONS,
        "value": lambda value: value is None or value in VALUES,
        "source": lambda value: value in (*SOURCES, MERGED),
        "statistic": lambda value: value in STATISTICS,
    }
    own |= dict.fromkeys(
        ("film_offset", "film_size", "sidecar_offset", "sidecar_size", "content_fraction", "clipped_low",
         "clipped_high", "row", "number", "confidence", "reader", "start", "stop", "x_min", "y_min", "x_max", "y_max",
         *(field.name for schema in _COUNTS for field in schema if not pa.types.is_string(field.type))),
        lambda value: isinstance(value, number),
    )  # fmt: skip
    return own.get(column) or SIDECAR_RULES.get(column, lambda value: False)
