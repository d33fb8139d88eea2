"""The films of a scan by their names in tables and annotation files, and which of them are in the shards."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.annotations.row_problems import RowError, RowSkipped
from data_prep.archive.manifest import key_fingerprint, read_linkage, read_manifest
from data_prep.errors import SecretError
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.frame_key import frame_key
from data_prep.shard_format.index import read_index

UID_COLUMN, PATH_COLUMN = "sop_instance_uid", "path"


class ArchiveFilms:
    """Finds films by name.

    Attributes:
        names: by path, end of a path, name of a picture made of the film, or SOP Instance UID. ``below`` of a film is
            its whole path without the first slash.
        keys: row of the manifest → key of the film, or of the first one of its file; None where the file is no film.
        frames: key of a file with several films → how many.
        sharded: key → (width, height) of the upright source raster, for the films in the shards.

    Raises:
        ArchiveError, ShardFormatError, SecretError: a folder is incomplete, or they do not belong together.
    """

    def __init__(self, private: Path, public: Path) -> None:
        manifest = read_manifest(private)
        if read_dataset_card(public).key_fingerprint != key_fingerprint(manifest):
            raise SecretError(
                f"{public} was made with another secret than the private folder; give the folder of its scan"
            )
        linkage = read_linkage(private, ["path", "sop_instance_uid", "key"])
        self.keys: list[str | None] = linkage["key"].to_pylist()
        several = manifest.filter(pc.is_valid(manifest["frames"]))
        self.frames: dict[str, int] = dict(zip(*(several[name].to_pylist() for name in ("key", "frames")), strict=True))
        films, others = [], []
        self._by_uid: dict[str, list[ListedFilm | None]] = {}
        raster = (manifest[name].to_pylist() for name in ("rows", "columns", "orientation", "source"))
        uids = linkage["sop_instance_uid"].to_pylist()
        for row, (path, rows, columns, orientation, source) in enumerate(
            zip(linkage["path"].to_pylist(), *raster, strict=True)
        ):
            below, film = path.lstrip("/"), None
            if self.keys[row] is None:
                others.append(below)
            else:
                film = ListedFilm(row, below, rows or 0, columns or 0, orientation or 1, source)
                films.append(film)
            if uids[row]:
                self._by_uid.setdefault(uids[row], []).append(film)
        uid_films = {uid: film for uid, found in self._by_uid.items() for film in found if film is not None}
        self.names = FilmNames(films, others, uid_films)
        index = read_index(public, ["key", "source_rows", "source_columns"])
        self.sharded: dict[str, tuple[int, int]] = {
            key: (columns, rows)
            for key, rows, columns in zip(*(column.to_pylist() for column in index.columns), strict=True)
        }

    def find(self, name: str, *, by_uid: bool = False) -> ListedFilm:
        """The film called ``name``.

        Args:
            name: path, end of a path, or name of a picture made of the film.
            by_uid: whether ``name`` is a SOP Instance UID instead.

        Raises:
            RowSkipped: no film has the name.
            RowError: several different films have it.
        """
        found = self._by_uid.get(name, []) if by_uid else self.names.find(name)
        exact = [film for film in found if film is not None and f"/{film.below}" == name]
        by_key = {self.key(film): film for film in exact or found if film is not None}
        if len(by_key) > 1:
            raise RowError("the name fits several films; give more of the path, or sop_instance_uid")
        if not by_key:
            raise RowSkipped("not_in_shards" if found else "row_without_file")
        return next(iter(by_key.values()))

    def key(self, film: ListedFilm, frame: int = 0) -> str:
        """Key of a film, or of a frame of its file, counted from 0."""
        key = self.keys[film.row]
        if key is None:
            raise AssertionError("a file that is no film has no key")
        return frame_key(key, frame)

    def count(self, film: ListedFilm) -> int:
        """How many films the file holds."""
        return self.frames.get(self.key(film), 1)

    def size(self, film: ListedFilm, key: str) -> tuple[int, int] | None:
        """(width, height) of the upright source raster; None where it is unknown."""
        return self.sharded.get(key) or (film.upright_size if film.rows else None)

    def own_keys(self) -> pa.Array:
        """Keys of all films of the scan."""
        frames = (frame_key(key, frame) for key, count in self.frames.items() for frame in range(1, count))
        return pa.array([*filter(None, self.keys), *frames], pa.string())
