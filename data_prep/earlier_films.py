"""The films of earlier generations, which a further one must neither repeat nor contradict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import Reason, SettingsError
from data_prep.index import file_pixels, read_one_index
from data_prep.shard_format import read_dataset_card

_FACTS = (
    *("patient", "study", "series", "site", "patient_known", "study_day", "body_part", "view", "laterality", "sex"),
    *("age_years", "manufacturer", "bits_stored", "photometric", "presentation_intent", "pixel_spacing_from"),
)
"""What manifest and index both say of a film. Not its model: whether it may be told depends on the whole archive."""
_NONE = "-"


@dataclass(frozen=True)
class EarlierFilms:
    """Of complete generations.

    Attributes:
        index: key, frame, _FACTS, split, source size and SHA-256 of the pixels of all films.
        dataset_sha256: of the last generation.
    """

    index: pa.Table
    dataset_sha256: str

    @classmethod
    def read(cls, generations: Sequence[Path]) -> "EarlierFilms":
        """Of the shard folders ``generations``, in their order.

        Raises:
            ShardFormatError: one is unfinished or damaged.
        """
        columns = ["key", "frame", *_FACTS, "split", "source_rows", "source_columns", "pixel_sha256"]
        tables = [read_one_index(folder, columns) for folder in generations]
        return cls(pa.concat_tables(tables).combine_chunks(), read_dataset_card(generations[-1]).dataset_sha256)

    def screened(self, manifest: pa.Table) -> pa.Table:
        """``manifest`` with a reason for every film that is not to be planned again.

        ``already_sharded``: a film of an earlier generation, of which the header says the same as then.
        ``identity_changed``: a further film of a study that was sharded under another patient. It could bring a patient
        into two splits.
        """
        films = pc.is_null(manifest["reason"])
        there = _is_in(manifest["key"], self.index["key"])
        ours, theirs = pc.is_null(manifest["frames"]), pc.is_null(self.index["frame"])
        same = _is_in(
            _facts(manifest, *_upright(manifest), ours), _facts(self.index, *_source_size(self.index), theirs)
        )
        same = pc.and_(same, pc.invert(_is_in(manifest["key"], self._other_frames(manifest))))
        manifest = _with_reason(manifest, pc.and_(films, same), Reason.ALREADY_SHARDED)
        known = _is_in(manifest["study"], self.index["study"])
        agrees = _is_in(_joined(manifest, "study", "patient"), _joined(self.index, "study", "patient"))
        stranger = pc.and_(pc.and_(known, pc.invert(agrees)), pc.and_(films, pc.invert(there)))
        return _with_reason(manifest, stranger, Reason.IDENTITY_CHANGED)

    def pixels(self, planned: pa.Table) -> dict[str, str]:
        """Key → pixels of the earlier files that are planned again, since their headers have changed.

        Args:
            planned: ``key`` of the files of a plan.
        """
        return file_pixels(self.index, planned["key"])

    def _other_frames(self, manifest: pa.Table) -> pa.ChunkedArray:
        """Keys of files with several frames that do not have as many as they had."""
        several = manifest.filter(pc.is_valid(manifest["frames"])).select(["key", "frames"]).to_pylist()
        there = file_pixels(self.index, pa.chunked_array([[row["key"] for row in several]], pa.string()))
        counts = {key: len(pixels.split()) for key, pixels in there.items()}
        return pa.chunked_array(
            [[row["key"] for row in several if counts.get(row["key"]) != row["frames"]]], pa.string()
        )

    def check_splits(self, planned: pa.Table) -> None:
        """Refuse a plan that brings a patient of an earlier generation into another split.

        Args:
            planned: ``patient`` and ``split`` of the files of a plan.

        Raises:
            SettingsError: it does.
        """
        known = _is_in(planned["patient"], self.index["patient"])
        stays = _is_in(_joined(planned, "split", "patient"), _joined(self.index, "split", "patient"))
        moved = pc.count_distinct(planned["patient"].filter(pc.and_(known, pc.invert(stays)))).as_py()
        if moved:
            raise SettingsError(
                f"{moved} patients of earlier generations would change their split; give the table of splits of those"
                " generations, which may have grown but not changed: splits.table=FILE"
            )


def _upright(manifest: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Rows and columns as the source raster has them after EXIF orientation (5 to 8 turn it)."""
    turned = pc.greater_equal(pc.fill_null(manifest["orientation"], 1), 5)
    rows, columns = manifest["rows"], manifest["columns"]
    return pc.if_else(turned, columns, rows), pc.if_else(turned, rows, columns)


def _source_size(index: pa.Table) -> tuple[pa.Array, pa.Array]:
    return index["source_rows"], index["source_columns"]


def _facts(table: pa.Table, rows: pa.Array, columns: pa.Array, alone: pa.Array) -> pa.ChunkedArray:
    """One text per film of all that can be compared; ``alone`` where it is the only one of its file."""
    return _texts([table["key"], *(table[name] for name in _FACTS), rows, columns, alone])


def _joined(table: pa.Table, *names: str) -> pa.ChunkedArray:
    return _texts([table[name] for name in names])


def _texts(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    words = [pc.fill_null(pc.cast(column, pa.string()), _NONE) for column in columns]
    return pc.binary_join_element_wise(*words, " ")


def _is_in(values: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(values, among.drop_null().combine_chunks())


def _with_reason(manifest: pa.Table, where: pa.ChunkedArray, reason: Reason) -> pa.Table:
    place = manifest.schema.get_field_index("reason")
    column = pc.if_else(where, pa.scalar(reason.value), manifest["reason"])
    return manifest.set_column(place, manifest.schema.field("reason"), column)
