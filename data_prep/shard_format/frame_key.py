"""Key of a further frame of a multi-frame file."""

import hashlib

KEY_BYTES = 16


def frame_key(film: str, frame: int) -> str:
    """Key of frame ``frame``, counted from 0, of the DICOM object with the key ``film``.

    The first frame is the object's own film. The others need no secret, since ``film`` is a pseudonym already.
    """
    return film if frame == 0 else hashlib.sha256(f"frame {film} {frame}".encode()).hexdigest()[: 2 * KEY_BYTES]
