"""Mutated DICOM films through scan, shard and verify: no crash of the run, no hang, bounded memory, all accounted for.

    python -m tests.benchmarks.sharding.fuzz [--files 10000] [--seed 0] [--keep FOLDER]

Tiny films in ten transfer syntaxes, each mutated in one to three ways: flipped bits, truncation, hostile values of the
attributes that say how large the pixels are, wrong lengths, deeply nested sequences, hostile codestream headers, and
pieces cut out, repeated or taken from another film.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import encapsulate

from data_prep.archive.manifest import read_manifest
from data_prep.shard_format.dataset_card import DatasetCard, read_dataset_card
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy

MEMORY_GIB = 2
"""What a worker may add to its address space."""
BOUND_GIB = MEMORY_GIB + 0.5
"""Of any process: that, and what it begins with."""
LIMITS = ("runtime.file_timeout_seconds=20", "runtime.accept=[decoder_timeout]")
"""A mutated film that stops its decoder will do so for ever."""
_ROOT = Path(__file__).parents[3]
_NUMBER = b"10000000"
"""In the SOP Instance UID of every base film; replaced, so that each file is a film of its own."""
_UID = f"1.2.826.0.1.3680043.8.498.{_NUMBER.decode()}"
_US = ((0x10, "Rows"), (0x11, "Columns"), (0x02, "Samples"), (0x100, "Allocated"), (0x101, "Stored"), (0x102, "High"))
_HOSTILE_US = (0, 1, 2, 3, 7, 15, 16, 17, 32, 64, 255, 4096, 16384, 32767, 32768, 65534, 65535)
_HOSTILE_LENGTHS = (b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", bytes(4))
_PIXELS = b"\xe0\x7f\x10\x00"

Mutation = Callable[[bytearray, random.Random, list[bytes]], None]


def base_films(folder: Path) -> list[bytes]:
    """A tiny film in every transfer syntax, with a window, a sequence and padding."""
    values = anatomy("fuzz", 40, 32)
    encoders: dict[str, Callable[[NDArray[np.uint16]], bytes]] = {
        "1.2.840.10008.1.2.4.57": lambda v: imagecodecs.ljpeg_encode(v, bitspersample=12),
        "1.2.840.10008.1.2.4.70": lambda v: imagecodecs.jpeg8_encode(v, lossless=True, bitspersample=12, predictor=1),
        "1.2.840.10008.1.2.4.51": lambda v: imagecodecs.jpeg8_encode(v, level=98, bitspersample=12),
        "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
        "1.2.840.10008.1.2.4.90": lambda v: imagecodecs.jpeg2k_encode(v, level=0, codecformat="j2k"),
        "1.2.840.10008.1.2.4.201": lambda v: imagecodecs.htj2k_encode(v, reversible=True),
    }
    films = []
    for number, syntax in enumerate(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", *encoders)):
        path = folder / f"{number}.dcm"
        native = syntax not in encoders
        write_film(
            path, values=values, sop=_UID, window=(2048, 4096), PixelPaddingValue=0, patient_id=f"P{number}",
            BodyPartExamined="CHEST", PixelSpacing=[0.2, 0.2], ViewCodeSequence=[pydicom.Dataset()],
            transfer_syntax=syntax if native else "1.2.840.10008.1.2.1",
        )  # fmt: skip
        if not native:
            film = pydicom.dcmread(path)
            film.PixelData = encapsulate([encoders[syntax](values)])
            film["PixelData"].VR = "OB"
            film.file_meta.TransferSyntaxUID = syntax
            film.save_as(path)
        films.append(path.read_bytes())
    film = pydicom.dcmread(folder / "1.dcm")
    film.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    film.save_as(folder / "rle.dcm")
    return [*films, (folder / "rle.dcm").read_bytes()]


def mutate(number: int, films: list[bytes], seed: int) -> bytes:
    """File ``number``: always the same for the same seed."""
    draw = random.Random(f"{seed}:{number}")
    data = bytearray(draw.choice(films).replace(_NUMBER, b"%08d" % (10_000_000 + number)))
    for mutation in draw.choices(MUTATIONS, k=draw.choice((1, 1, 2, 3))):
        mutation(data, draw, films)
    return bytes(data)


def _flip(data: bytearray, draw: random.Random, films: list[bytes]) -> None:
    start = draw.choice((0, 132, max(0, data.find(_PIXELS))))
    for _ in range(draw.choice((1, 2, 8, 64))):
        if len(data) > start:
            data[draw.randrange(start, len(data))] ^= 1 << draw.randrange(8)


def _truncate(data: bytearray, draw: random.Random, films: list[bytes]) -> None:
    del data[draw.randrange(len(data) + 1) :]


def _hostile_value(data: bytearray, draw: random.Random, films: list[bytes]) -> None:
    for element, _ in draw.sample(_US, draw.choice((1, 2, 3))):
        for tag in (b"\x28\x00" + element.to_bytes(2, "little"), b"\x00\x28" + element.to_bytes(2, "big")):
            place = data.find(tag)
            if place >= 0:
                data[place + 8 : place + 10] = draw.choice(_HOSTILE_US).to_bytes(2, draw.choice(("little", "big")))


def _wrong_length(data: bytearray, draw: random.Random, films: list[bytes]) -> None:
    place = draw.choice((data.find(_PIXELS) + 8, draw.randrange(132, max(133, min(len(data), 1500)))))
    if 0 <= place <= len(data) - 4:
        data[place : place + 4] = draw.choice(_HOSTILE_LENGTHS)


def _nested(data: bytearray, draw: random.Random, films: list[bytes]) -> None:
    """Sequences in sequences, of undefined or of false length, before the pixels."""
    depth = draw.choice((5, 100, 1000, 20_000))
    length = draw.choice((b"\xff\xff\xff\xff", b"\xff\xff\x00\x00"))
    sequence = b"\x08\x00\x40\x11" + draw.choice((b"SQ\0\0", b"")) + length
    item = b"\xfe\xff\x00\xe0" + length
    place = max(0, data.find(_PIXELS))
    data[place:place] = (sequence + item) * depth


def _hostile_codestream(data: bytearray, draw: random.Random, films: list[bytes]) -> None:
    """Sizes and counts stand in the first bytes of every codestream."""
    start = data.find(_PIXELS) + 12
    for _ in range(draw.choice((1, 2, 4))):
        place = start + draw.randrange(90)
        if place < len(data) - 4:
            size = draw.choice((1, 2, 4))
            data[place : place + size] = draw.choice((b"\xff", b"\x7f", b"\x00", b"\x80")) * size


def _pieces(data: bytearray, draw: random.Random, films: list[bytes]) -> None:
    start = draw.randrange(len(data) + 1)
    stop = min(len(data), start + draw.choice((1, 2, 8, 100, 1000)))
    other = draw.choice(films)
    piece = other[start % len(other) :][: stop - start]
    data[start:stop] = draw.choice((b"", bytes(data[start:stop]) * draw.choice((2, 50)), piece))


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _flip, _truncate, _hostile_value, _hostile_value, _wrong_length, _nested, _hostile_codestream, _pieces,
)  # fmt: skip


def shard_mutations(folder: Path, files: int, seed: int, seconds: float, workers: int = 0) -> tuple[DatasetCard, float]:
    """Scan, shard and verify ``files`` mutated films below ``folder``: the card, and GiB of the largest process.

    Raises:
        AssertionError: a command failed, hung, or a file is not accounted for.
    """
    (folder / "base").mkdir(parents=True)
    films = base_films(folder / "base")
    for number in range(files):
        part = folder / "archive" / f"{number // 1000:03d}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number:06d}.dcm").write_bytes(mutate(number, films, seed))
    private, public = folder / "private", folder / "public"
    largest = _run(["scan", folder / "archive", "--out", private], seconds)
    shard = ["shard", private, "--out", public, "max_side=64", "min_side=16", "films_per_shard=200"]
    sharded = _run(
        [
            *shard,
            f"runtime.memory_gib={MEMORY_GIB}",
            "runtime.max_reject_fraction=1",
            *LIMITS,
            f"runtime.workers={workers}",
        ],
        seconds,
    )
    verified = _run(["verify", public], seconds)
    card = read_dataset_card(public)
    counted = card.files.written + card.files.rejected + card.files.dropped
    if not read_manifest(private).num_rows == counted == files:
        raise AssertionError(f"{files} files, {read_manifest(private).num_rows} scanned, {counted} in the ledger")
    return card, max(largest, sharded, verified)


def _run(words: list[object], seconds: float) -> float:
    """The largest process of one command in GiB: its own descendants alone, whatever the caller ran before."""
    command = [sys.executable, "-m", "data_prep", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "MAE_RAD_KEY": "a secret that is long enough"}
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        late = threading.Timer(seconds, process.kill)
        late.start()
        _, status, usage = os.wait4(process.pid, 0)
        late.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if process.returncode:
            ended = (
                "hangs" if late.finished.is_set() and process.returncode == -9 else f"ended with {process.returncode}"
            )
            raise AssertionError(f"{words[0]} {ended}:\n{output.read()[-6000:]}")
    largest = usage.ru_maxrss / 2**20
    print(f"{words[0]:<10}{time.perf_counter() - start:8.1f} s   largest process {largest:.2f} GiB", flush=True)
    if largest > BOUND_GIB:
        raise AssertionError(f"a process of {words[0]} took {largest:.2f} GiB, more than {BOUND_GIB}")
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="new folder that is left for a look")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        card, largest = shard_mutations(args.keep or Path(name), args.files, args.seed, seconds=3600)
    print(card)
    counts = card.files
    accounted = counts.written + counts.rejected + counts.dropped
    print(f"baseline: {args.files} files and {BOUND_GIB} GiB")
    print(f"ratio: accounted for {accounted / args.files:.3f}, memory {largest / BOUND_GIB:.2f}")
    print(f"given up after a crash or a time-out: {Counter(reason for _, reason in card.quarantined) or 'none'}")


if __name__ == "__main__":
    main()
