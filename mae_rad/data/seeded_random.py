"""Random generators without state: each is a function of the names and numbers that it is for."""

import hashlib

import numpy as np


def generator_for(*parts: int | str) -> np.random.Generator:
    """The generator that belongs to ``parts``, for example (run seed, epoch, film key, view name).

    Equal parts give equal draws in every process, at any time; Philox because its state is its key.
    """
    text = "\x1f".join(str(part) for part in parts)
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
