"""Find films of a scan by their names in tables and annotation files, and whether they are in the shards."""

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

UID_COLUMN, PATH_COLUMN, KEY_COLUMN = "sop_instance_uid", "path", "key"


class ArchiveFilms:
    """Finds films by name.

    Args:
        private: folder of the scan.
        public: folder of its shards.

    Attributes:
        names: lookup by path, end of a path, name of a picture made from the film, or SOP Instance UID. ``below`` of a
            film is its whole path without the first slash.
        keys: row of the manifest → key of the film, or of the first frame of its file; None where the file is no film.
        frames: key of a file with several frames → number of frames.
        sharded: key → (width, height) in pixels of the upright source raster, for the films in the shards.

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
        multi_frame = manifest.filter(pc.is_valid(manifest["frames"]))
        self.frames: dict[str, int] = dict(
            zip(*(multi_frame[name].to_pylist() for name in ("key", "frames")), strict=True)
        )
        films, other_paths = [], []
        self._by_key: dict[str, tuple[ListedFilm, int]] | None = None
        self._by_uid: dict[str, list[ListedFilm | None]] = {}
        raster = (manifest[name].to_pylist() for name in ("rows", "columns", "orientation", "source"))
        uids = linkage["sop_instance_uid"].to_pylist()
        for row, (path, rows, columns, orientation, source) in enumerate(
            zip(linkage["path"].to_pylist(), *raster, strict=True)
        ):
            below, film = path.lstrip("/"), None
            if self.keys[row] is None:
                other_paths.append(below)
            else:
                film = ListedFilm(row, below, rows or 0, columns or 0, orientation or 1, source)
                films.append(film)
            if uids[row]:
                self._by_uid.setdefault(uids[row], []).append(film)
        uid_films = {uid: film for uid, matches in self._by_uid.items() for film in matches if film is not None}
        self.names = FilmNames(films, other_paths, uid_films)
        index = read_index(public, ["key", "source_rows", "source_columns"])
        self.sharded: dict[str, tuple[int, int]] = {
            key: (columns, rows)
            for key, rows, columns in zip(*(column.to_pylist() for column in index.columns), strict=True)
        }

    def find(self, name: str, *, by_uid: bool = False) -> ListedFilm:
        """Find the film with a name.

        Args:
            name: path, end of a path, or name of a picture made from the film.
            by_uid: whether ``name`` is a SOP Instance UID instead.

        Returns:
            The film.

        Raises:
            RowSkipped: no film has the name.
            RowError: several different films have it.
        """
        matches = self._by_uid.get(name, []) if by_uid else self.names.find(name)
        exact = [film for film in matches if film is not None and f"/{film.below}" == name]
        by_key = {self.key_of(film): film for film in exact or matches if film is not None}
        if len(by_key) > 1:
            raise RowError("the name matches several films; give more of the path, or sop_instance_uid")
        if not by_key:
            raise RowSkipped("not_in_shards" if matches else "row_without_file")
        return next(iter(by_key.values()))

    def find_key(self, key: str) -> tuple[ListedFilm, int]:
        """Find the film with a key, as tables that were made from the shards name it.

        Args:
            key: of the film.

        Returns:
            The film of its file, and the index of its frame there.

        Raises:
            RowSkipped: no film has the key.
        """
        if self._by_key is None:
            frames = [(film, frame) for film in self.names.films for frame in range(self.frame_count(film))]
            self._by_key = {self.key_of(film, frame): (film, frame) for film, frame in frames}
        if key not in self._by_key:
            raise RowSkipped("row_without_file")
        return self._by_key[key]

    def key_of(self, film: ListedFilm, frame: int = 0) -> str:
        """Return the key of a film.

        Args:
            film: of the scan.
            frame: index of the frame in its file, from 0.

        Returns:
            The key of the frame.
        """
        key = self.keys[film.row]
        if key is None:
            raise AssertionError("a file that is no film has no key")
        return frame_key(key, frame)

    def frame_count(self, film: ListedFilm) -> int:
        """Return the number of frames of the film's file."""
        return self.frames.get(self.key_of(film), 1)

    def upright_size(self, film: ListedFilm, key: str) -> tuple[int, int] | None:
        """Return the size of the upright source raster.

        Args:
            film: of the scan.
            key: of the film or of one of its frames.

        Returns:
            (width, height) in pixels; None if unknown.
        """
        return self.sharded.get(key) or (film.upright_size if film.rows else None)

    def scan_keys(self) -> pa.Array:
        """Return the keys of all films of the scan."""
        frames = (frame_key(key, frame) for key, count in self.frames.items() for frame in range(1, count))
        return pa.array([*filter(None, self.keys), *frames], pa.string())
