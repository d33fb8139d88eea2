"""A folder that appears complete or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from mae_rad.errors import WeightsError


@contextmanager
def whole_folder(folder: Path, *, mark: str) -> Iterator[Path]:
    """A temporary folder to write into; it is synced and takes the name ``folder`` when the block ends without error.

    Args:
        folder: to be made; one that is there and holds ``mark`` is replaced.
        mark: name of a file that every folder of this kind holds.

    Raises:
        WeightsError: ``folder`` is there and is something else, or the disk does not take it.
    """
    if folder.exists() and not (folder / mark).is_file():
        raise WeightsError(f"{folder} exists and holds no {mark}, so it is not replaced; give another path")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        _publish(partial, folder)
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).partition("I/O error: ")[2]
        if isinstance(error, FileNotFoundError) or not why:
            raise  # what was read for it
        raise WeightsError(f"{folder} cannot be written ({why}); make room and start the same command again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, folder: Path) -> None:
    for path in [*partial.rglob("*"), partial]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
