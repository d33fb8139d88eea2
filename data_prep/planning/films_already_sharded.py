"""Films of earlier generations: a later generation neither repeats them nor moves their patients to other splits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.archive.manifest import key_origin
from data_prep.archive.pixel_digests import read_digests, with_digests
from data_prep.errors import Reason, SettingsError
from data_prep.shard_format.dataset_card import read_dataset_card, read_shard_cards, removal_digest
from data_prep.shard_format.index import equal_pixels, file_pixels, read_one_index

_MAX_CHANGED = 0.01
"""Share of the patients whose films may name another one now: errors that a hospital corrects, not another setting."""
_COMPARED_COLUMNS = (
    *("patient", "study", "series", "site", "patient_known", "study_day", "body_part", "view", "laterality", "sex"),
    *("age_years", "manufacturer", "bits_stored", "photometric", "presentation_intent", "pixel_spacing_from"),
)
"""Columns that manifest and index share. Without ``model``: whether it is published depends on the whole archive."""


@dataclass(frozen=True)
class EarlierFilms:
    """All films of complete generations.

    Attributes:
        index: columns key, frame, _COMPARED_COLUMNS, split, source_rows, source_columns and pixel_sha256.
        dataset_sha256: ``dataset_sha256`` of the last generation.
        keys: how the keys were made.
        source: key of the setting ``source`` of their scans; empty where not recorded.
        removed: digests of patients who have withdrawn their consent.
        represented: checksum of pixels → film that represents them, where checksums are not published.
    """

    index: pa.Table
    dataset_sha256: str
    keys: int = 1
    source: str = ""
    removed: frozenset[str] = frozenset()
    represented: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, generations: Sequence[Path], private: Path) -> "EarlierFilms":
        """Read the index of every generation.

        Args:
            generations: shard folders, the first generation first.
            private: private folder, for the checksums of pixels that are not published.

        Raises:
            ShardFormatError: a folder is unfinished or damaged.
            SettingsError: checksums are not published, and ``private`` does not hold them.
        """
        columns = ["key", "frame", *_COMPARED_COLUMNS, "split", "source_rows", "source_columns", "pixel_sha256"]
        tables = [read_one_index(folder, [*columns, "same_pixels_as"]) for folder in generations]
        index = pa.concat_tables(tables).combine_chunks()
        represented: dict[str, str] = {}
        if index["pixel_sha256"].null_count:
            names = equal_pixels(index).to_pylist()
            index = with_digests(index, read_digests(private, read_shard_cards(generations)))
            represented = dict(zip(index["pixel_sha256"].to_pylist(), names, strict=True))
        card, removed = read_dataset_card(generations[-1]), frozenset(read_dataset_card(generations[0]).removed)
        films = index.select(columns)
        return cls(films, card.dataset_sha256, card.keys, card.source, removed, represented)

    def check_patients(self, manifest: pa.Table, aliases: pa.ChunkedArray | None) -> None:
        """Refuse a scan under which a film that is there, or a patient, would have another key.

        Args:
            manifest: of the private folder.
            aliases: [rows] keys that the patient would have if no header named an issuer; None where not known.

        Raises:
            SettingsError: the patients of earlier films could come into two splits.
        """
        keys, source = key_origin(manifest)
        if keys != self.keys:
            raise SettingsError(f"these shards were begun with keys={self.keys}: scan again with keys={self.keys}")
        if self.source and source != self.source:
            raise SettingsError(
                "these shards were begun with another source, the issuer of patient numbers whose headers name none:"
                " scan again with source= as then"
            )
        films = manifest.filter(pc.is_null(manifest["reason"]))
        index_row = pc.index_in(films["key"], self.index["key"].combine_chunks())
        again = films.filter(pc.is_valid(index_row))
        earlier = self.index["patient"].take(index_row.drop_null())
        is_changed = pc.not_equal(again["patient"], earlier)
        changed = pc.sum(is_changed).as_py() or 0
        patients = pc.count_distinct(earlier.filter(is_changed)).as_py()
        if patients > max(1, _MAX_CHANGED * pc.count_distinct(earlier).as_py()):
            raise SettingsError(
                f"{changed} films of earlier generations would have another patient, who could then be in two splits."
                " Scan with the settings of those generations (keys, source, image_pattern, tables of patients); or, if"
                " the archive itself has joined or renumbered patients, begin a new folder"
            )
        if aliases is None:
            return
        of_film = aliases.filter(pc.is_null(manifest["reason"]))
        patient, alias = films["patient"].take(pc.list_parent_indices(of_film)), pc.list_flatten(of_film)
        known = pa.chunked_array([*self.index["patient"].chunks, *again["patient"].chunks])  # see reject_known
        is_renamed = pc.and_(_is_in(alias, self.index["patient"]), pc.invert(_is_in(patient, known)))
        renamed = pc.count_distinct(patient.filter(is_renamed)).as_py()
        if renamed:
            raise SettingsError(
                f"{renamed} patients are in earlier generations without an issuer of their number, and now"
                " headers or source= name one: they could be in two splits. Scan with the source of those generations,"
                " or begin a new folder"
            )

    def reject_known(self, manifest: pa.Table) -> pa.Table:
        """Set ``reason`` for the films of a manifest that are not planned again.

        ==================  ==============================================================================
        already_sharded     the film is in an earlier generation, and its header has not changed, or only
                            names another patient now
        withdrawn           the patient was removed from the earlier generations
        identity_changed    the film is new, but its study or patient was sharded under another patient: the
                            patient could come into two splits
        ==================  ==============================================================================

        Args:
            manifest: of the private folder.

        Returns:
            ``manifest`` with these reasons in its column ``reason``.
        """
        manifest = self._reject_removed(manifest)
        is_film = pc.is_null(manifest["reason"])
        index_row = pc.index_in(manifest["key"], self.index["key"].combine_chunks())
        is_known = pc.and_(is_film, pc.is_valid(index_row))
        is_moved = pc.and_(is_known, pc.not_equal(manifest["patient"], self.index["patient"].take(index_row)))
        moved_to = manifest["patient"].filter(pc.fill_null(is_moved, False))
        unchanged = pc.and_(is_known, pc.invert(_is_in(manifest["key"], self._keys_with_other_frames(manifest))))
        for current, earlier in self._compared_columns(manifest):
            unchanged = pc.and_(unchanged, _equal_or_both_null(current, earlier.take(index_row)))
        manifest = _set_reason(manifest, pc.or_(unchanged, pc.fill_null(is_moved, False)), Reason.ALREADY_SHARDED)
        new = manifest.filter(pc.and_(is_film, pc.invert(is_known))).select(["row", "study", "patient"])
        of_known_study = new.filter(_is_in(new["study"], self.index["study"]))
        studies = self.index.filter(_is_in(self.index["study"], of_known_study["study"]))
        agrees = _is_in(_join_columns(of_known_study, "study", "patient"), _join_columns(studies, "study", "patient"))
        contradicting = of_known_study.filter(pc.invert(agrees))["row"]
        of_moved = new.filter(_is_in(new["patient"], moved_to))["row"]
        is_contradicting = pc.or_(_is_in(manifest["row"], contradicting), _is_in(manifest["row"], of_moved))
        return _set_reason(manifest, is_contradicting, Reason.IDENTITY_CHANGED)

    def _reject_removed(self, manifest: pa.Table) -> pa.Table:
        if not self.removed:
            return manifest
        patients = [key for key in pc.unique(manifest["patient"]).to_pylist() if key is not None]
        gone = pa.array([key for key in patients if removal_digest(key) in self.removed], pa.string())
        is_gone = pc.and_(pc.is_null(manifest["reason"]), pc.is_in(manifest["patient"], gone))
        return _set_reason(manifest, is_gone, Reason.WITHDRAWN)

    def _compared_columns(self, manifest: pa.Table) -> Iterator[tuple[pa.ChunkedArray, pa.ChunkedArray]]:
        """Pairs of comparable columns: of the manifest, and of the earlier index."""
        yield from ((manifest[name], self.index[name]) for name in _COMPARED_COLUMNS)
        yield from zip(_upright_size(manifest), (self.index["source_rows"], self.index["source_columns"]), strict=True)
        yield pc.is_null(manifest["frames"]), pc.is_null(self.index["frame"])

    def pixels(self, planned: pa.Table) -> dict[str, str]:
        """Pixel hashes of the earlier files that are planned again, since their headers have changed.

        Args:
            planned: ``key`` of the files of a plan.

        Returns:
            Key → SHA-256 of the pixels of each frame, separated by spaces.
        """
        return file_pixels(self.index, planned["key"])

    def _keys_with_other_frames(self, manifest: pa.Table) -> pa.ChunkedArray:
        """Keys of multi-frame files whose number of frames has changed."""
        multi_frame = manifest.filter(pc.is_valid(manifest["frames"])).select(["key", "frames"]).to_pylist()
        hashes = file_pixels(self.index, pa.chunked_array([[row["key"] for row in multi_frame]], pa.string()))
        counts = {key: len(pixels.split()) for key, pixels in hashes.items()}
        return pa.chunked_array(
            [[row["key"] for row in multi_frame if counts.get(row["key"]) != row["frames"]]], pa.string()
        )

    def check_splits(self, planned: pa.Table) -> None:
        """Refuse a plan that moves a patient of an earlier generation to another split.

        Args:
            planned: ``patient`` and ``split`` of the files of a plan.

        Raises:
            SettingsError: at least one patient would move.
        """
        known = planned.filter(_is_in(planned["patient"], self.index["patient"]))
        earlier = self.index.filter(_is_in(self.index["patient"], known["patient"]))
        is_kept = _is_in(_join_columns(known, "split", "patient"), _join_columns(earlier, "split", "patient"))
        moved = pc.count_distinct(known["patient"].filter(pc.invert(is_kept))).as_py()
        if moved:
            raise SettingsError(
                f"{moved} patients of earlier generations would change their split. Give the table of splits of those"
                " generations, with rows added but none changed: splits.table=FILE"
            )


def _upright_size(manifest: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Rows and columns of the source raster after EXIF orientation; orientations 5 to 8 exchange them."""
    is_transposed = pc.greater_equal(pc.fill_null(manifest["orientation"], 1), 5)
    rows, columns = manifest["rows"], manifest["columns"]
    return pc.if_else(is_transposed, columns, rows), pc.if_else(is_transposed, rows, columns)


def _equal_or_both_null(first: pa.ChunkedArray, second: pa.ChunkedArray) -> pa.ChunkedArray:
    equal = pc.fill_null(pc.equal(first, second.cast(first.type)), False)
    return pc.or_(equal, pc.and_(pc.is_null(first), pc.is_null(second)))


def _join_columns(table: pa.Table, *names: str) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*(table[name] for name in names), " ")


def _is_in(values: pa.ChunkedArray, allowed: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(values, allowed.drop_null().combine_chunks())


def _set_reason(manifest: pa.Table, where: pa.ChunkedArray, reason: Reason) -> pa.Table:
    position = manifest.schema.get_field_index("reason")
    column = pc.if_else(where, pa.scalar(reason.value), manifest["reason"])
    return manifest.set_column(position, manifest.schema.field("reason"), column)
