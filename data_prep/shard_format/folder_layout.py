"""Format version and file suffixes of a public folder."""

import re
from collections.abc import Mapping
from typing import Any

FORMAT_VERSION = 2

SHARD_NAME = re.compile(r"(?:train|val|test)-\d{6,}\.tar")
"""File name of a shard: a name in an index that is another could lead out of the folder."""

FILM_SUFFIXES = {"htj2k": "j2c", "png": "png", "jpeg": "jpg"}
"""Codec of the films (``codec`` of the settings) → suffix of their members."""

SIDECAR_SUFFIX = "json"


def film_suffix(config: Mapping[str, Any]) -> str:
    """Suffix of the films of a folder, from ``config`` of its ``dataset.json``."""
    return FILM_SUFFIXES[config.get("codec", "htj2k")]
