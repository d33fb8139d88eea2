"""Whatever stands in a file of unknown origin, it is read within bounds or refused."""

import errno
import itertools
import os
import time
from pathlib import Path

import pytest

from data_prep.bounded_reading import MAX_YAML_BYTES, open_regular, parse_json, parse_xml, parse_yaml, read_bounded


def _laughs() -> str:
    names = "abcdefghijkl"
    lines = [f"a: &a [{', '.join(['word'] * 10)}]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in itertools.pairwise(names)]
    return "\n".join([*lines, "names: *l"])


def _merges() -> str:
    lines = ["a0: &a0 {x: 1}"]
    return "\n".join(lines + [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 32)])


@pytest.mark.parametrize(
    "text",
    [
        "made: 2020-99-99",
        f"x: {'9' * 6000}",
        "[" * 20_000,
        "{" * 20_000,
        "a: &a [*a]",
        "!!int ''",
        "!!timestamp soon",
        "? [a]\n: b",
        "!!python/object/apply:os.system ['true']",
        "\0",
        "a" * (MAX_YAML_BYTES + 1),
        _laughs(),
        _merges(),
    ],
)
def test_yaml_that_is_not_plain_values_is_an_error_at_once(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"."):
        parse_yaml(text)
    assert time.monotonic() - started < 5


def test_plain_yaml_is_read_with_its_aliases() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: &y {k: v}}\nd: *y") == {
        "a": [1, 2], "b": [1, 2], "c": {"k": "v"}, "d": {"k": "v"},
    }  # fmt: skip
    assert parse_yaml("") is None
    assert parse_yaml("1e-3") == "1e-3"


@pytest.mark.parametrize("text", ["[" * 200_000, "{", "nan2", b"\xff", '{"a":' * 100_000])
def test_json_that_is_damaged_or_deep_is_an_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize(
    "data",
    [
        b"<a>",
        b'<?xml version="1.0" encoding="utf-99"?><a/>',
        b"\xff\xfe",
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "/etc/passwd">]><a>&b;</a>',
    ],
)
def test_xml_that_is_damaged_or_of_an_unknown_encoding_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_xml(data)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match=r"."):
            open_regular(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    os.truncate(path, 2**40)
    with pytest.raises(OSError, match="is larger") as raised:
        read_bounded(path, 5)
    assert raised.value.errno == errno.EFBIG
