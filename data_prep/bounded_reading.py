"""Read small files of unknown origin within bounds: regular files only, with limits of size, depth and expansion.

A pipe or device in place of a file is refused, not waited for. Whatever is wrong with a text is a ``ValueError``.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import yaml

MAX_CARD_BYTES = 2**26
"""Largest JSON card of a folder, of settings or of a model."""
MAX_FILE_BYTES = 2**31
"""Largest file of an archive that is read: six times the largest film."""
MAX_YAML_BYTES = 2**20
_MAX_YAML_DEPTH = 64
_MAX_YAML_CHARACTERS = 2**22
"""Characters of a YAML text after its aliases are expanded."""


def open_regular(path: str | Path, buffering: int = -1) -> BinaryIO:
    """Open a regular file for reading; a pipe or device is not waited for.

    Args:
        path: of the file; a link is followed.
        buffering: as of :func:`open`.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        return os.fdopen(descriptor, "rb", buffering)
    except BaseException:
        os.close(descriptor)
        raise


def read_bounded(path: Path, most: int) -> bytes:
    """Read a whole regular file.

    Args:
        path: of the file.
        most: largest size in bytes.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger (``errno.EFBIG``).
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"is larger than {most / 2**20:.0f} MiB")
    return data


def read_json(path: Path, most: int = MAX_CARD_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: of the file.
        most: largest size in bytes.

    Raises:
        OSError: as for :func:`read_bounded`.
        ValueError: it is not valid JSON in UTF-8, or nested too deeply.
    """
    return parse_json(read_bounded(path, most))


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not valid, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def parse_yaml(text: str) -> Any:
    """Parse YAML with plain values only.

    Raises:
        ValueError: it is not valid, holds a value that does not exist (such as a date), is too large, nested too
            deeply, or its aliases stand for too much.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ValueError("is too large")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded_size(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except Exception as error:  # the constructors of yaml raise errors of many types on invalid values
        raise ValueError(str(error)) from None


class _Loader(yaml.SafeLoader):
    """Stops at a depth, before the recursion of its parser becomes slow."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _MAX_YAML_DEPTH:
            raise ValueError("is nested too deeply")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _expanded_size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Characters of a node with all that its aliases stand for.

    Raises:
        ValueError: there are too many, or a node holds itself.
    """
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise ValueError("an alias stands for a value that holds itself")
        return size
    known[id(node)] = None
    size = 1
    if isinstance(node, yaml.ScalarNode):
        size += len(node.value)
    else:
        for child in node.value:
            parts = child if isinstance(child, tuple) else (child,)
            size += sum(_expanded_size(part, known) for part in parts)
            if size > _MAX_YAML_CHARACTERS:
                raise ValueError("its aliases stand for too much")
    known[id(node)] = size
    return size


def parse_xml(data: bytes) -> ElementTree.Element:
    """Parse XML; entities of other files are not read.

    Raises:
        ValueError: it is not valid, or its encoding is unknown.
    """
    try:
        return ElementTree.fromstring(data)  # expat limits the expansion of entities
    except (ElementTree.ParseError, LookupError, RecursionError, ValueError, MemoryError) as error:
        raise ValueError(str(error)) from None
