"""Audit of the Parquet tables and JSON cards of a public folder."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_prep.deidentify.allow_list import INDEX_RULES, SIDECAR_RULES, hexadecimal, provenance
from data_prep.errors import Reason
from data_prep.planning.patient_values import FILM_COLUMNS
from data_prep.planning.settings import ShardSettings
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard
from data_prep.shard_format.folder_layout import FILM_SUFFIXES
from data_prep.shard_format.label_tables import AGREEMENT_SCHEMA, MERGED, SOURCES, STATISTICS, STATISTICS_SCHEMA, VALUES
from data_prep.shard_format.parquet_bytes import encode_parquet
from data_prep.shard_format.sidecar import SPLITS
from data_prep.sharding.merged_tables import DEIDENTIFICATION
from data_prep.verification.container_bytes import parquet_problems
from data_prep.verification.text_search import TextSearch

_COUNT_SCHEMAS = (STATISTICS_SCHEMA, AGREEMENT_SCHEMA)
SHARD_NAME = re.compile(rf"(?:{'|'.join(SPLITS)})-\d{{6,9}}")
_LABEL = re.compile(r"[a-z0-9_]{1,64}")
_SETTING_TEXTS = frozenset({"native", "keep", "reject", "train", "none", *FILM_SUFFIXES})
_DRAWN_SPLITS = ("stratify", "hold_out", "hold_out_of_table")
_COLUMN = re.compile(r"(?!.*\d{4})[\w .-]{1,64}")
_HELD_OUT = re.compile(r"[\w .,/&+-]{1,64}")
_HASH = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{32})\b")
_REASONS = frozenset(reason.value for reason in Reason)


def remove_hashes(text: str) -> str:
    """Remove keys and checksums, in which short identifiers occur by chance."""
    return _HASH.sub(" ", text)


def card_problems(data: bytes, card: DatasetCard, search: TextSearch) -> Iterator[str]:
    """Find what is not on the allow-list in ``dataset.json``.

    Args:
        data: bytes of the file.
        card: contents of the file.
        search: texts that must not occur.

    Returns:
        Problems, without values.
    """
    if data != json.dumps(card.model_dump(mode="json", exclude_unset=True), indent=2, sort_keys=True).encode():
        yield "holds more than its fields"
    hashes = {
        "dataset_sha256": (card.dataset_sha256, 64),
        "config_sha256": (card.config_sha256, 64),
        "key_fingerprint": (card.key_fingerprint, 32),
    }
    yield from (f"{name} is no hash" for name, (value, digits) in hashes.items() if not hexadecimal(value, digits))
    if card.plan_sha256 and not hexadecimal(card.plan_sha256, 64):
        yield "plan_sha256 is no hash"
    if card.keys not in (1, 2) or (card.source and not hexadecimal(card.source, 32)):
        yield "keys or source hold another value than those of a scan"
    if card.after is not None and not hexadecimal(card.after, 64):
        yield "after is no hash"
    if not all(hexadecimal(digest, 64) for digest in card.removed):
        yield "removed holds a value that is no digest"
    if not set(card.reasons) <= _REASONS:
        yield "reasons holds unknown values"
    failures = [*card.quarantined, *(pair for retry in card.retries for pair in retry)]
    if not {reason for _, reason in failures} <= _REASONS:
        yield "quarantined or retries hold unknown values"
    if card.deidentification != DEIDENTIFICATION:
        yield "deidentification differs from the profile of this release"
    shards = card.shards.items()
    if not all(
        name.endswith(".tar") and SHARD_NAME.fullmatch(name[:-4]) and hexadecimal(sha256, 64) for name, sha256 in shards
    ):
        yield "shards holds a name that is not that of a shard, or a value that is no checksum"
    yield from _setting_problems(card.config)
    if search.in_text(remove_hashes(data.decode("utf-8", "replace"))):
        yield "an original identifier occurs"


def _setting_problems(config: Mapping[str, Any]) -> Iterator[str]:
    config, splits = dict(config), dict(config.get("splits", {}))
    yield from _drawn_split_problems(splits)
    config["splits"] = {name: value for name, value in splits.items() if name not in _DRAWN_SPLITS}
    try:
        ShardSettings.model_validate(config)
    except ValidationError:
        yield "config holds unknown settings"
    for text in _texts(config):
        if text not in _SETTING_TEXTS and not hexadecimal(text, 64):
            yield "config holds a text that is not the value of a setting"


def _drawn_split_problems(splits: Mapping[str, Any]) -> Iterator[str]:
    """Check how splits were drawn: names of columns, values that the index holds too, and digests of other values."""
    stratify, held, hidden = (splits.get(name) or {} for name in _DRAWN_SPLITS)
    columns = [*held, *hidden, *([stratify["column"]] if "column" in stratify else [])]
    is_plain = all(_COLUMN.fullmatch(str(column)) for column in columns) and all(
        column in FILM_COLUMNS and _HELD_OUT.fullmatch(str(value)) for column, value in held.items()
    )
    is_known = set(stratify) <= {"column", "table"} and isinstance(stratify.get("table", False), bool)
    if not (is_plain and is_known and all(hexadecimal(str(value), 16) for value in hidden.values())):
        yield "config holds more of its splits than columns, values of the index and digests"


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
    """Find what is not on the allow-list in ``<shard>.json``; its JSON format is checked by the caller.

    Args:
        data: bytes of the file.
        card: contents of the file.
        stem: file name of the shard without suffix.

    Returns:
        Problems, without values.
    """
    hashes = (card.config_sha256, card.inputs_sha256, card.tar_sha256, card.index_sha256)
    if not all(hexadecimal(value, 64) for value in hashes):
        yield "the card holds a value that is no hash"
    if card.shard != stem or not {reason for _, reason in card.rejects} <= _REASONS:
        yield "the card holds another shard name or unknown reasons"


def table_problems(name: str, data: bytes, schemas: Sequence[pa.Schema], search: TextSearch) -> Iterator[str]:
    """Find what is not on the allow-list in a Parquet file of the public folder.

    Args:
        name: file name of the table.
        data: bytes of the file.
        schemas: allowed schemas.
        search: texts that must not occur.

    Returns:
        Problems, without values; at most one per column.
    """
    problems = list(parquet_problems(data, *schemas))
    yield from problems
    if problems:
        return
    table = pq.read_table(pa.BufferReader(data))
    if _is_same_writer(data) and encode_parquet(table) != data:
        yield "the bytes are not the encoding of the table"
    for column in table.column_names:
        rule = _column_rule(name, column)
        values = pc.unique(table[column]) if not pa.types.is_nested(table[column].type) else table[column]
        for value in values.to_pylist():
            if not rule(value):
                yield f"{column} holds a value that is not on the allow-list"
                break
            if isinstance(value, str) and search.in_text(remove_hashes(value)):
                yield f"{column}: an original identifier occurs"
                break


def _is_same_writer(data: bytes) -> bool:
    """Whether the installed Arrow wrote the file; only then its bytes can be reproduced."""
    return bool(
        pq.ParquetFile(pa.BufferReader(data)).metadata.created_by == f"parquet-cpp-arrow version {pa.__version__}"
    )


def _column_rule(name: str, column: str) -> Any:
    """Predicate of the allowed values of a column; a column without a rule allows no value."""
    number = (int, float, type(None))
    rules: dict[str, Any] = {
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
    rules |= dict.fromkeys(
        ("film_offset", "film_size", "sidecar_offset", "sidecar_size", "content_fraction", "clipped_low",
         "clipped_high", "row", "number", "confidence", "reader", "start", "stop", "x_min", "y_min", "x_max", "y_max",
         *(field.name for schema in _COUNT_SCHEMAS for field in schema if not pa.types.is_string(field.type))),
        lambda value: isinstance(value, number),
    )  # fmt: skip
    rules |= INDEX_RULES
    return rules.get(column) or SIDECAR_RULES.get(column, lambda value: False)
