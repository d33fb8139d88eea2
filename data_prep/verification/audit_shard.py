"""Audit of one shard: tar, table and card."""

import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import pyarrow.parquet as pq
from pydantic import ValidationError

from data_prep.deidentify.allow_list import hexadecimal, sidecar_problems
from data_prep.runtime.atomic_write import canonical_json
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.shard_format.film_codec import codec_of, decode_film, encode_film
from data_prep.shard_format.folder_layout import SIDECAR_SUFFIX
from data_prep.shard_format.index_schema import INDEX_SCHEMAS
from data_prep.shard_format.sidecar import Sidecar
from data_prep.verification.audit_tables import remove_hashes, shard_card_problems, table_problems
from data_prep.verification.container_bytes import Member, read_tar_members
from data_prep.verification.film_bytes import stream_problems
from data_prep.verification.text_search import TextSearch

_MAX_LISTED_PROBLEMS = 20
"""Problems of one shard that are listed; a damaged tar has thousands."""


@dataclass
class ShardAudit:
    """Result of the audit of one shard.

    Attributes:
        problems: they name keys and fields, never values.
        films: number of films.
        models: device model → films.
    """

    problems: list[str] = field(default_factory=list)
    films: int = 0
    models: Counter[str] = field(default_factory=Counter)


def audit_shard(public: Path, name: str, search: TextSearch, suffix: str) -> ShardAudit:
    """Compare every byte of one shard with the allow-list.

    Args:
        public: public folder.
        name: file name of the tar.
        search: texts that must not occur.
        suffix: file suffix of the films, without a dot.
    """
    stem = name.removesuffix(".tar")
    audit = ShardAudit()
    problems: list[str] = []
    try:
        card_bytes = (public / f"{stem}.json").read_bytes()
        card = ShardCard.model_validate_json(card_bytes)
        if card_bytes != canonical_json(card.model_dump(mode="json")):
            problems.append("the card holds more than its fields")
        problems += shard_card_problems(card_bytes, card, stem)
        table = (public / f"{stem}.parquet").read_bytes()
        problems += [f"table: {problem}" for problem in table_problems(name, table, INDEX_SCHEMAS, search)]
        rows = pq.read_table(io.BytesIO(table)).to_pylist() if not problems else []
        problems += _tar_problems(public / name, rows, search, audit, suffix)
    except (OSError, ValidationError, ValueError):
        problems.append("tar, table or card is missing or damaged")
    more = len(problems) - _MAX_LISTED_PROBLEMS
    audit.problems = [f"{name}: {problem}" for problem in problems[:_MAX_LISTED_PROBLEMS]]
    if more > 0:
        audit.problems.append(f"{name}: {more} more problems")
    return audit


def _tar_problems(
    path: Path, rows: list[dict[str, Any]], search: TextSearch, audit: ShardAudit, film_suffix: str
) -> list[str]:
    problems: list[str] = []
    with path.open("rb") as tar:
        members = list(read_tar_members(tar, path.stat().st_size, problems))
        if len(members) % 2:
            problems.append("a film without its sidecar")
        expected = [
            Member(f"{row['key']}.{suffix}", row[f"{kind}_offset"], row[f"{kind}_size"])
            for row in rows
            for kind, suffix in (("film", film_suffix), ("sidecar", SIDECAR_SUFFIX))
        ]
        if members != expected:
            problems.append("the members of the tar differ from its table")
        for film, sidecar in zip(members[::2], members[1::2], strict=False):
            key, _, suffix = film.name.partition(".")
            if not hexadecimal(key, 32) or suffix != film_suffix or sidecar.name != f"{key}.{SIDECAR_SUFFIX}":
                problems.append("a member name is not a key with a suffix")
                continue
            audit.films += 1
            data = (_read_member(tar, film), _read_member(tar, sidecar))
            problems += [f"{key}: {problem}" for problem in _film_problems(key, *data, search, audit)]
    return problems


def _read_member(tar: Any, member: Member) -> bytes:
    tar.seek(member.offset)
    return bytes(tar.read(member.size))


def _film_problems(key: str, film: bytes, sidecar_bytes: bytes, search: TextSearch, audit: ShardAudit) -> list[str]:
    try:
        sidecar = Sidecar.model_validate_json(sidecar_bytes)
    except ValidationError:
        return ["the sidecar is not valid"]
    problems = list(sidecar_problems(sidecar))
    if sidecar.key != key:
        problems.append("the sidecar is of another film")
    if sidecar_bytes != canonical_json(sidecar.model_dump(mode="json")):
        problems.append("the sidecar holds more than its fields")
    if sidecar.model is not None:
        audit.models[sidecar.model] += 1
    problems += stream_problems(film)
    if not problems:
        problems += _pixel_problems(film, sidecar)
    if search.in_bytes(film) or search.in_text(remove_hashes(sidecar_bytes.decode("utf-8", "replace"))):
        problems.append("an original identifier occurs")
    return problems


def _pixel_problems(film: bytes, sidecar: Sidecar) -> list[str]:
    """Compare the stream with the encoding of its own pixels, so that no bit of it carries other data."""
    try:
        values = decode_film(film, bits=sidecar.display.bits)
    except Exception:  # codecs raise many kinds of exceptions on damaged data
        return ["the film cannot be decoded"]
    if values.shape != (sidecar.rows, sidecar.columns) or int(values.max()) >> sidecar.display.bits:
        return ["the size or bit depth of the film differs from its sidecar"]
    if codec_of(film) == "htj2k" and _encoder_comment().encode() in film and encode_film(values) != film:
        return ["the bytes of the film are not the encoding of its pixels"]
    return []


def _encoder_comment() -> str:
    """Comment that the installed encoder writes; only its own streams can be reproduced bit by bit."""
    return f"OpenJPH Ver {imagecodecs.htj2k_version().split()[-1]}."
