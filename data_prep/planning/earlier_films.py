"""The films of earlier generations, which a further one must neither repeat nor contradict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import Reason, SettingsError
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import file_pixels, read_one_index

_FACTS = (
    *("patient", "study", "series", "site", "patient_known", "study_day", "body_part", "view", "laterality", "sex"),
    *("age_years", "manufacturer", "bits_stored", "photometric", "presentation_intent", "pixel_spacing_from"),
)
"""What manifest and index both say of a film. Not its model: whether it may be told depends on the whole archive."""


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
        place = pc.index_in(manifest["key"], self.index["key"].combine_chunks())
        there = pc.and_(films, pc.is_valid(place))
        same = pc.and_(there, pc.invert(_is_in(manifest["key"], self._other_frames(manifest))))
        for now, then in self._compared(manifest):
            same = pc.and_(same, _equal(now, then.take(place)))
        manifest = _with_reason(manifest, same, Reason.ALREADY_SHARDED)
        further = manifest.filter(pc.and_(films, pc.invert(there))).select(["row", "study", "patient"])
        known = further.filter(_is_in(further["study"], self.index["study"]))
        studies = self.index.filter(_is_in(self.index["study"], known["study"]))
        agrees = _is_in(_joined(known, "study", "patient"), _joined(studies, "study", "patient"))
        strangers = known.filter(pc.invert(agrees))["row"]
        return _with_reason(manifest, _is_in(manifest["row"], strangers), Reason.IDENTITY_CHANGED)

    def _compared(self, manifest: pa.Table) -> Iterator[tuple[pa.ChunkedArray, pa.ChunkedArray]]:
        """All that can be compared: as it is now, and as it was then."""
        yield from ((manifest[name], self.index[name]) for name in _FACTS)
        yield from zip(_upright(manifest), (self.index["source_rows"], self.index["source_columns"]), strict=True)
        yield pc.is_null(manifest["frames"]), pc.is_null(self.index["frame"])

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
        known = planned.filter(_is_in(planned["patient"], self.index["patient"]))
        then = self.index.filter(_is_in(self.index["patient"], known["patient"]))
        stays = _is_in(_joined(known, "split", "patient"), _joined(then, "split", "patient"))
        moved = pc.count_distinct(known["patient"].filter(pc.invert(stays))).as_py()
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


def _equal(now: pa.ChunkedArray, then: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether values are equal, or both are not told."""
    same = pc.fill_null(pc.equal(now, then.cast(now.type)), False)
    return pc.or_(same, pc.and_(pc.is_null(now), pc.is_null(then)))


def _joined(table: pa.Table, *names: str) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*(table[name] for name in names), " ")


def _is_in(values: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(values, among.drop_null().combine_chunks())


def _with_reason(manifest: pa.Table, where: pa.ChunkedArray, reason: Reason) -> pa.Table:
    place = manifest.schema.get_field_index("reason")
    column = pc.if_else(where, pa.scalar(reason.value), manifest["reason"])
    return manifest.set_column(place, manifest.schema.field("reason"), column)
