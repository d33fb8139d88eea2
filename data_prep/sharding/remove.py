"""The remove command: rewrite a public folder without the films of patients who have withdrawn their consent.

A new folder is made beside the old one and takes its place at once, so that an interruption leaves one of the two, and
no byte of the old one. Shards without films of these patients keep their bytes, and are linked.
"""

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.archive.manifest import key_fingerprint, key_origin, read_linkage, read_manifest
from data_prep.archive.withdrawn import add_withdrawn
from data_prep.bounded_reading import read_bounded
from data_prep.deidentify.pseudonyms import canonical_number
from data_prep.errors import SecretError, SettingsError
from data_prep.runtime.atomic_write import atomic_folder, canonical_json, remove_temporary, restore_folder, synced_file
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard, read_dataset_card, removal_digest
from data_prep.shard_format.folder_layout import SIDECAR_SUFFIX, film_suffix
from data_prep.shard_format.index import count_across_splits, equal_pixels, read_one_index
from data_prep.shard_format.index_schema import INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.shard_format.label_tables import (
    AGREEMENT_FILE,
    BOXES_FILE,
    LABELS_FILE,
    STATISTICS_FILE,
    read_boxes,
    read_labels,
)
from data_prep.shard_format.parquet_bytes import encode_parquet, with_null_columns
from data_prep.shard_format.sidecar import SPLITS
from data_prep.sharding.merged_tables import EqualPixels, count_written_files, dataset_sha256, merge_index
from data_prep.sharding.public_folder import locked_folder, translate_write_errors
from data_prep.sharding.stale_records import find_stale

_KEY = re.compile("[0-9a-f]{32}")
_OVERVIEWS = (STATISTICS_FILE, AGREEMENT_FILE)
_DATASET_FILE = "dataset.json"
_MAX_LIST_BYTES = 2**26
_MAX_NAMED = 10


@dataclass(frozen=True)
class Removal:
    """What was removed.

    Attributes:
        patients: patients with films in the folder.
        films: films that were removed.
        shards: shards that were rewritten or deleted.
        before, after: checksum of all generations, as trainings record it.
        stale: embeddings, encoders and runs that were made from what is removed.
        has_overviews: whether statistics of labels were deleted, which ``label`` writes again.
        is_recorded: whether the private folder keeps these patients out of later shards.
        unmatched: lines of the list whose patient has no film in the folder.
    """

    patients: int
    films: int
    shards: int
    before: str
    after: str
    stale: tuple[Path, ...]
    has_overviews: bool
    is_recorded: bool
    unmatched: tuple[int, ...]

    def __str__(self) -> str:
        """Text for the terminal."""
        lines = [f"removed: {self.films} films of {self.patients} patients, from {self.shards} shards"]
        if self.unmatched:
            named = ", ".join(map(str, self.unmatched[:_MAX_NAMED]))
            lines.append(f"CHECK: {len(self.unmatched)} lines of --patients have no film here: line {named}")
        lines += [f"dataset {self.before}", f"is now  {self.after}"]
        lines += [f"stale: {path}" for path in self.stale]
        lines.append("what else was made from the earlier dataset is stale, too: give folders to search with --runs")
        lines.append("a published copy and the caches of those who read it still hold the films: delete them there")
        if self.has_overviews:
            lines.append("statistics of labels were deleted: write them again with mae-rad label")
        lines.append("append leaves these patients out from now on")
        if not self.is_recorded:
            lines.append("a new folder that is made of this archive holds them, unless --private is given")
        return "\n".join(lines)


def remove(public: Path, patients: Path, private: Path | None = None, runs: Sequence[Path] = ()) -> Removal:
    """Remove all films of patients from all generations of a public folder, and from its labels and boxes.

    Args:
        public: complete folder of shards.
        patients: text file with a patient per line: the number in the archive (needs ``private``), or the key.
        private: folder of the scan; the patients are recorded there, so that ``shard`` and ``append`` leave them out.
        runs: folders that are searched for embeddings, encoders and runs made from the folder.

    Returns:
        What was removed, and what is stale by it.

    Raises:
        SettingsError: a patient is not known, or none has films in the folder.
        ShardFormatError: the folder is unfinished, damaged, in use or cannot be written.
        SecretError: ``private`` was made with another secret.
    """
    if not public.exists() and public.parent.is_dir():
        restore_folder(public)  # a removal was killed between its two renames
    folders = generation_folders(public)
    lines_of = _read_keys(patients, private, read_dataset_card(public))
    keys = set(lines_of)
    with locked_folder(public), translate_write_errors(public):
        remove_temporary(public.resolve().parent, public.resolve().name)  # of a removal that was interrupted
        indexes = [read_one_index(folder) for folder in folders]
        removed = pa.concat_tables([index.filter(_is_in(index["patient"], keys)) for index in indexes])
        if not removed.num_rows:
            raise SettingsError(f"none of {len(keys)} patients has a film in {public}; nothing is changed")
        if private is not None:
            add_withdrawn(private, keys)
        before = _combined([read_dataset_card(folder).dataset_sha256 for folder in folders])
        stale = tuple(find_stale(runs, _hashes(folders), public))
        with atomic_folder(public.resolve(), _DATASET_FILE) as new:
            has_overviews = _write_without(folders, new, keys)
    after = _combined([read_dataset_card(folder).dataset_sha256 for folder in generation_folders(public)])
    shards = sum(pc.count_distinct(index.filter(_is_in(index["patient"], keys))["shard"]).as_py() for index in indexes)
    found = set(removed["patient"].to_pylist())
    unmatched = {line for lines in lines_of.values() for line in lines}
    unmatched -= {line for key in found for line in lines_of[key]}
    return Removal(
        len(found), removed.num_rows, shards, before, after, stale, has_overviews, private is not None,
        tuple(sorted(unmatched)),
    )  # fmt: skip


def _read_keys(patients: Path, private: Path | None, card: DatasetCard) -> dict[str, set[int]]:
    """Key of each patient of a list → the lines that name the patient."""
    try:
        lines = read_bounded(patients, _MAX_LIST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"--patients {patients} cannot be read; give a text file with a patient per line") from None
    entries = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    numbers = [(line, text) for line, text in entries if not _KEY.fullmatch(text)]
    if not entries or (numbers and private is None):
        problem = "it is empty" if not entries else "patient numbers need the private folder: --private PRIVATE"
        raise SettingsError(f"--patients {patients}: {problem}")
    known: dict[str, set[str]] = {}
    if private is not None:
        manifest, linkage = read_manifest(private), read_linkage(private, ["patient_id"])
        if key_fingerprint(manifest) != card.key_fingerprint:
            raise SecretError(f"{private} was made with another secret than the shards; give the folder of their scan")
        if key_origin(manifest) != (card.keys, card.source):
            raise SettingsError(
                f"{private} has keys of another kind than the shards (keys or source of the scan); scan with"
                f" keys={card.keys} and the source of the shards; nothing is changed"
            )
        for number, key in zip(linkage["patient_id"].to_pylist(), manifest["patient"].to_pylist(), strict=True):
            if number is not None and key is not None:
                known.setdefault(canonical_number(number), set()).add(key)
    if unknown := [line for line, text in numbers if canonical_number(text) not in known]:
        raise SettingsError(
            f"--patients {patients}: the scan has no patient of line {unknown[0]} ({len(unknown)} in all); nothing"
            " is changed"
        )
    lines_of: dict[str, set[int]] = {}
    for line, text in entries:
        for key in {text} if _KEY.fullmatch(text) else known[canonical_number(text)]:
            lines_of.setdefault(key, set()).add(line)
    return lines_of


def _write_without(folders: Sequence[Path], new: Path, keys: Collection[str]) -> bool:
    """Write all generations without the films of patients; whether statistics of labels were left out."""
    after: str | None = None
    earlier: dict[str, str] = {}
    for folder in folders:
        target = new if folder == folders[0] else new / folder.name
        target.mkdir(exist_ok=True)
        after = _write_generation(folder, target, keys, after, earlier)
    public = folders[0]
    kept = pa.concat_tables([pq.read_table(path, columns=["key"]) for path in sorted(new.rglob("index.parquet"))])
    for name, read in ((LABELS_FILE, read_labels), (BOXES_FILE, read_boxes)):
        if (public / name).exists():
            rows = read(public)
            _write(new / name, encode_parquet(rows.filter(_is_in(rows["key"], kept["key"].to_pylist()))))
    return any((public / name).exists() for name in _OVERVIEWS)


def _write_generation(
    folder: Path, target: Path, keys: Collection[str], after: str | None, earlier: dict[str, str]
) -> str:
    """Write one generation; its new ``dataset_sha256``. ``earlier``: as of :class:`EqualPixels`."""
    card = read_dataset_card(folder)
    sha256: dict[str, str] = {}
    for tar_name in card.shards:
        stem = Path(tar_name).stem
        rows = with_null_columns(pq.read_table(folder / f"{stem}.parquet"), INDEX_SCHEMA).cast(INDEX_SCHEMA)
        kept = rows.filter(pc.invert(_is_in(rows["patient"], keys)))
        if len(kept) == len(rows):
            for suffix in ("tar", "parquet", "json"):
                _link(folder / f"{stem}.{suffix}", target / f"{stem}.{suffix}")
            sha256[tar_name] = card.shards[tar_name]
        elif len(kept):
            sha256[tar_name] = _write_shard(folder, target, stem, kept, film_suffix(card.config))
    before = read_one_index(folder, ["key", "pixel_sha256", "same_pixels_as"])
    names = pa.table({"key": before["key"], "pixels": equal_pixels(before)})
    hidden = EqualPixels(names, earlier) if before["pixel_sha256"].null_count else None
    index = merge_index(target, {Path(name).stem for name in sha256}, hidden)
    rejects = pq.read_table(folder / "rejects.parquet").cast(REJECTS_SCHEMA)
    _write(target / "index.parquet", encode_parquet(index))
    _write(target / "rejects.parquet", encode_parquet(rejects))
    by_split = {split: index.filter(pc.equal(index["split"], split)) for split in SPLITS}
    values = card.model_dump() | {
        "shards": sha256,
        "dataset_sha256": dataset_sha256(sha256),
        "after": after,
        "removed": sorted({*card.removed, *map(removal_digest, keys)}) if after is None else card.removed,
        "files": card.files.model_dump() | {"written": count_written_files(index)},
        "films": {split: films.num_rows for split, films in by_split.items()},
        "patients": {split: pc.count_distinct(films["patient"]).as_py() for split, films in by_split.items()},
        "same_pixels": index.num_rows - index["same_pixels_as"].null_count,
        "same_pixels_across_splits": count_across_splits(index),
    }
    changed = DatasetCard.model_validate(values)
    text = json.dumps(changed.model_dump(mode="json"), indent=2, sort_keys=True)
    _write(target / _DATASET_FILE, text.encode())
    return changed.dataset_sha256


def _write_shard(folder: Path, target: Path, stem: str, kept: pa.Table, film_suffix: str) -> str:
    """Write a shard with the films of ``kept``, unchanged; its checksum."""
    rows: list[dict[str, Any]] = []
    with (
        (folder / f"{stem}.tar").open("rb") as old,
        synced_file(target / f"{stem}.tar") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for row in kept.to_pylist():
            for kind, suffix in (("film", film_suffix), ("sidecar", SIDECAR_SUFFIX)):
                old.seek(row[f"{kind}_offset"])
                data = old.read(row[f"{kind}_size"])
                member = tarfile.TarInfo(f"{row['key']}.{suffix}")
                member.size, member.mode = len(data), 0o644
                row[f"{kind}_offset"] = tar.offset + tarfile.BLOCKSIZE
                tar.addfile(member, BytesIO(data))
            rows.append(row)
    index = encode_parquet(pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    _write(target / f"{stem}.parquet", index)
    with (target / f"{stem}.tar").open("rb") as file:
        tar_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    card = ShardCard.model_validate_json((folder / f"{stem}.json").read_bytes())
    changed = {"tar_sha256": tar_sha256, "tar_size": (target / f"{stem}.tar").stat().st_size, "films": len(rows)}
    card = card.model_copy(update={**changed, "index_sha256": hashlib.sha256(index).hexdigest()})
    _write(target / f"{stem}.json", canonical_json(card.model_dump(mode="json")))
    return tar_sha256


def _write(path: Path, data: bytes) -> None:
    with synced_file(path) as file:
        file.write(data)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _is_in(column: pa.ChunkedArray, values: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(column, pa.array(sorted(values), pa.string()))


def _combined(hashes: Sequence[str]) -> str:
    """Checksum of several generations, as trainings record it."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()


def _hashes(folders: Sequence[Path]) -> set[bytes]:
    """Checksums under which trainings may have recorded the first generations of a folder."""
    hashes = [read_dataset_card(folder).dataset_sha256 for folder in folders]
    return {_combined(hashes[: number + 1]).encode() for number in range(len(hashes))} | {h.encode() for h in hashes}
