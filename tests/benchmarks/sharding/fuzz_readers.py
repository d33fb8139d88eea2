"""Mutated files of every kind that strangers supply, read in this process: no crash, no hang, bounded memory.

    python -m tests.benchmarks.sharding.fuzz_readers [--files 300] [--seed 0] [--only NAME]

Annotation files and tables (JSON, XML, YAML, text, CSV, also gzipped), reports, PNG and JPEG films, settings; and the
files of a public folder of others (cards, tables, tars), of an encoder folder, and the list of a published folder. Each
is mutated in one to three ways: flipped bits, truncation, numbers, dates and lengths that do not exist, deep nesting,
long repetitions, other encodings, and pieces of other files. A reader may refuse with an error of the user only.
"""

import argparse
import contextlib
import gzip
import io
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.errors import UserError
from tests.benchmarks.sharding.fuzz_targets import TARGETS, Target

SECONDS, WAITING_SECONDS = 20, 120
"""Longest processor time of one input, and longest time."""
MEMORY_GIB = 4
"""What reading may add to the address space of this process."""
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_HOSTILE = (
    *(b"1e999", b"-1", b"99999999999999999999", b"2020-99-99", b"NaN", b"-Infinity", b"0.1", b'""', b"null", b"{}"),
    *(b"9" * 5000, b"\x1b]0;x\x07", b"=1+1", b"../../etc/passwd", b"\xff\xfe", b"&a [*a]", b"\x00"),
)
_ENCODINGS = ("utf-16", "utf-32", "utf-7", "cp037", "latin-1")
Mutation = Callable[[bytes, random.Random, list[bytes]], bytes]


def _flip(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 64))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _number(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data))
    for match in sorted(draw.sample(found, min(len(found), 3)), key=lambda match: -match.start()):
        data = data[: match.start()] + draw.choice(_HOSTILE) + data[match.end() :]
    return data


def _nested(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    place = draw.randrange(len(data) + 1)
    begin = draw.choice((b"[", b'{"a":', b"<a>", b"- ", b"(", b'"'))
    return data[:place] + begin * draw.choice((5, 1000, 100_000)) + data[place:]


def _repeated(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    start = draw.randrange(len(data) + 1)
    piece = data[start : start + draw.choice((1, 8, 100))]
    return data[:start] + piece * draw.choice((2, 100, 20_000)) + data[start:]


def _hostile(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.choice(_HOSTILE) + data[place:]


def _encoded(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    return data.decode("latin-1").encode(draw.choice(_ENCODINGS), "replace")


def _long_lengths(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    place = draw.randrange(len(data) + 1)
    value = draw.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", bytes(4)))
    return data[:place] + value + data[place + 4 :]


def _piece(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    start, other = draw.randrange(len(data) + 1), draw.choice(others)
    return data[:start] + other[start % max(len(other), 1) :][: draw.choice((4, 100, 10**6))] + data[start:]


def _absent(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """Cut out a piece, such as a field or a line."""
    start = draw.randrange(len(data) + 1)
    return data[:start] + data[start + draw.choice((1, 5, 30, 300)) :]


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _truncate, _number, _number, _nested, _repeated, _hostile, _encoded, _long_lengths, _piece, _absent,
)  # fmt: skip


class HangError(BaseException):
    """Raised by the alarm; no ``except Exception`` of a reader catches it."""


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise HangError

    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WAITING_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(target: Target, folder: Path, files: int, seed: int) -> Counter[str]:
    """Read ``files`` mutations of the files of a target; outcome → how often. A failure is printed with its number."""
    base = folder / "base"
    target.write(base)
    names = sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())
    names = [name for name in names if target.is_mutated(name)]
    contents = [_plain(base / name) for name in names]
    outcomes: Counter[str] = Counter()
    _read(target, base, "the files as they are", outcomes)
    if set(outcomes) != {"read"}:
        target.read(base)  # says why
        raise AssertionError(f"{target.name}: the files as they are cannot be read: {dict(outcomes)}")
    for number in range(files):
        draw = random.Random(f"{target.name}:{seed}:{number}")
        copy = folder / "copy"
        shutil.copytree(base, copy, symlinks=True)
        place = draw.randrange(len(names))
        data = contents[place]
        for mutation in draw.choices(MUTATIONS, k=draw.choice((1, 1, 2, 3))):
            data = mutation(data, draw, contents)[: 2**24]
        _write(copy / names[place], data)
        _read(target, copy, f"{target.name} {number} ({names[place]})", outcomes)
        shutil.rmtree(copy)
    return outcomes


def _plain(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)


def _read(target: Target, folder: Path, name: str, outcomes: Counter[str]) -> None:
    start = time.monotonic()
    printed = io.StringIO()
    try:
        with _alarm(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            target.read(folder)
        outcome = "read"
    except UserError as error:
        outcome = "refused" if str(error).isprintable() else "FAILED: control characters in an error"
    except HangError:
        outcome = f"FAILED: over {SECONDS} s"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        outcome = f"FAILED: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    if "\x1b" in printed.getvalue():
        outcome = "FAILED: an escape sequence was printed"
    outcomes[outcome] += 1
    if outcome.startswith("FAILED"):
        print(f"  {name}: {outcome} after {time.monotonic() - start:.1f} s", flush=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[target.name for target in TARGETS])
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    _limit_memory()
    failed: list[str] = []
    total = 0
    for target in TARGETS:
        if args.only in (None, target.name):
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as name:
                outcomes = fuzz(target, Path(name), args.files, args.seed)
            total += outcomes.total()
            print(f"{target.name:<16}{time.monotonic() - start:6.1f} s  {json.dumps(outcomes)}", flush=True)
            failed += [target.name for outcome in outcomes if outcome.startswith("FAILED")][:1]
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{total} inputs, {len(failed)} kinds with failures, largest memory {largest:.2f} GiB")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
