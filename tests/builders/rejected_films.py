"""An archive of which six films are rejected by a faulty decoder."""

from pathlib import Path

import pytest

from data_prep.sharding import shard_writer
from data_prep.sharding.shard import shard
from tests.builders.dicom_builder import write_film
from tests.builders.faulty_writer import REJECT, faulty_decode
from tests.builders.private_builder import anatomy, make_private, settings, write_archive


def shard_with_rejects(folder: Path) -> None:
    """Make archive, private and public folder below ``folder``."""
    write_archive(folder / "archive", patients=6)
    for number in range(6):
        path = folder / "archive" / f"p{number}" / "odd.dcm"
        write_film(path, values=anatomy(("odd", number)), patient_id=f"MRN-0417-{number}", ImageComments=REJECT)
    with pytest.MonkeyPatch.context() as patch:
        private = make_private(folder, patch)
        patch.setattr(shard_writer, "decode_file", faulty_decode)
        shard(private, folder / "public", settings())
