"""Random generators seeded by names and numbers, without global state."""

import hashlib

import numpy as np


def generator_for(*parts: int | str) -> np.random.Generator:
    """Create the generator of ``parts``, for example (run seed, epoch, film key, view name).

    Equal parts give equal draws in every process. Philox is seeded by its key alone.
    """
    text = "\x1f".join(str(part) for part in parts)
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
