"""Audit of one shard: its tar, its table, its card."""

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
from data_prep.shard_format.index_schema import INDEX_SCHEMA
from data_prep.shard_format.sidecar import Sidecar
from data_prep.verification.audit_tables import shard_card_problems, table_problems, without_hashes
from data_prep.verification.container_bytes import Member, tar_members
from data_prep.verification.film_bytes import stream_problems
from data_prep.verification.text_search import Needles

_MAX_TOLD = 20


@dataclass
class ShardAudit:
    """What is wrong with a shard, how many films it has, and the names of device models in it."""

    problems: list[str] = field(default_factory=list)
    films: int = 0
    models: Counter[str] = field(default_factory=Counter)


def audit_shard(public: Path, name: str, needles: Needles, suffix: str) -> ShardAudit:
    """Read one shard back.

    Args:
        public: the folder.
        name: file name of the tar.
        needles: texts that must not occur.
        suffix: of its films.
    """
    stem = name.removesuffix(".tar")
    told = ShardAudit()
    problems: list[str] = []
    try:
        card_bytes = (public / f"{stem}.json").read_bytes()
        card = ShardCard.model_validate_json(card_bytes)
        if card_bytes != canonical_json(card.model_dump(mode="json")):
            problems.append("the card holds more than its fields")
        problems += shard_card_problems(card_bytes, card, stem)
        table = (public / f"{stem}.parquet").read_bytes()
        problems += [f"its table: {problem}" for problem in table_problems(name, table, (INDEX_SCHEMA,), needles)]
        rows = pq.read_table(io.BytesIO(table)).to_pylist() if not problems else []
        problems += _tar_problems(public / name, rows, needles, told, suffix)
    except (OSError, ValidationError, ValueError):
        problems.append("tar, table or card is missing or damaged")
    more = len(problems) - _MAX_TOLD
    told.problems = [f"{name}: {problem}" for problem in problems[:_MAX_TOLD]]
    if more > 0:
        told.problems.append(f"{name}: {more} more problems")
    return told


def _tar_problems(
    path: Path, rows: list[dict[str, Any]], needles: Needles, told: ShardAudit, film_suffix: str
) -> list[str]:
    problems: list[str] = []
    with path.open("rb") as tar:
        members = list(tar_members(tar, path.stat().st_size, problems))
        if len(members) % 2:
            problems.append("a film without its sidecar")
        expected = [
            Member(f"{row['key']}.{suffix}", row[f"{kind}_offset"], row[f"{kind}_size"])
            for row in rows
            for kind, suffix in (("film", film_suffix), ("sidecar", SIDECAR_SUFFIX))
        ]
        if members != expected:
            problems.append("the members are not those of its table")
        for film, sidecar in zip(members[::2], members[1::2], strict=False):
            key, _, suffix = film.name.partition(".")
            if not hexadecimal(key, 32) or suffix != film_suffix or sidecar.name != f"{key}.{SIDECAR_SUFFIX}":
                problems.append("members with other names than key and suffix")
                continue
            told.films += 1
            data = (_read(tar, film), _read(tar, sidecar))
            problems += [f"{key}: {problem}" for problem in _film_problems(key, *data, needles, told)]
    return problems


def _read(tar: Any, member: Member) -> bytes:
    tar.seek(member.offset)
    return bytes(tar.read(member.size))


def _film_problems(key: str, film: bytes, sidecar: bytes, needles: Needles, told: ShardAudit) -> list[str]:
    try:
        told_of = Sidecar.model_validate_json(sidecar)
    except ValidationError:
        return ["the sidecar is not what the contract says"]
    problems = list(sidecar_problems(told_of))
    if told_of.key != key:
        problems.append("the sidecar is of another film")
    if sidecar != canonical_json(told_of.model_dump(mode="json")):
        problems.append("the sidecar holds more than its fields")
    if told_of.model is not None:
        told.models[told_of.model] += 1
    problems += stream_problems(film)
    if not problems:
        problems += _pixel_problems(film, told_of)
    if needles.in_bytes(film) or needles.in_text(without_hashes(sidecar.decode("utf-8", "replace"))):
        problems.append("an original identifier occurs")
    return problems


def _pixel_problems(film: bytes, sidecar: Sidecar) -> list[str]:
    """The stream has to be what its own pixels give: then no bit of it says anything else."""
    try:
        values = decode_film(film, bits=sidecar.display.bits)
    except Exception:  # codecs raise whatever damaged data make them stumble over
        return ["the film cannot be decoded"]
    if values.shape != (sidecar.rows, sidecar.columns) or int(values.max()) >> sidecar.display.bits:
        return ["the film has other pixels than the sidecar says"]
    codec = codec_of(film)
    if codec == "htj2k" and _encoder().encode() in film and encode_film(values) != film:
        return ["the film's bytes are not those of its pixels"]
    return []


def _encoder() -> str:
    return f"OpenJPH Ver {imagecodecs.htj2k_version().split()[-1]}."
