"""Keys of the frames of a multi-frame file."""

import hashlib

KEY_BYTES = 16
"""Length of a key; as text it has twice as many hexadecimal digits."""


def frame_key(film: str, frame: int) -> str:
    """Compute the key of a frame of a DICOM object; no secret is needed, since ``film`` is a pseudonym.

    Args:
        film: key of the object, and of its first frame.
        frame: number of the frame, from 0.
    """
    return film if frame == 0 else hashlib.sha256(f"frame {film} {frame}".encode()).hexdigest()[: 2 * KEY_BYTES]
