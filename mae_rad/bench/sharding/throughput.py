"""Measure how fast a core converts films of 7 to 10 megapixels to a shard.

    mae-rad bench throughput [--films N] [--size ROWSxCOLUMNS] [--rounds N] [--processes N]

Three methods process the same files in turn, in several rounds, from the page cache. Other processes can only slow a
round down, so the best round of each film and method counts. The result is the ratio of processor times, which depends
little on other processes.

bare   read, decode, area average, encode: no header, no checksum, no tar; the lower limit.
ours   ``write_shard`` as a worker of ``mae-rad shard`` calls it: a complete shard on disk.
plain  pydicom's ``pixel_array`` with python-gdcm, ``apply_voi_lut``, Pillow, 16-bit PNG, ``webdataset.ShardWriter``.

Files are uncompressed or JPEG lossless (process 14, SV1) with 12 and 14 bits: rendered films, enlarged, with noise that
makes them as hard to compress as real ones. The method plain needs python-gdcm: pip install python-gdcm.
"""

import argparse
import importlib.util
import io
import logging
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_voi_lut

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.film import decode, sample
from data_prep.film.shard_values import shrunk_size
from data_prep.phantom.dicom_film import file_bytes, film_dataset, set_pixels
from data_prep.phantom.fictitious_people import person, visit
from data_prep.phantom.imaging.scanners import EXPLICIT_LE, JPEG_LOSSLESS_SV1, SCANNERS
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw, draw_patient
from data_prep.phantom.render_film import render
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.worker_pool import spawn_pool
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.sharding import shard_writer
from data_prep.sharding.shard_writer import write_shard

FORMATS = {"uncompressed": (EXPLICIT_LE, 0.60), "JPEG lossless": (JPEG_LOSSLESS_SV1, 0.85)}
"""Name → transfer syntax, and goal of the speed relative to bare."""
PLAIN_GOAL = 3.0
"""Goal of the speed relative to plain."""
PLAIN_ROUNDS = 3
"""Rounds of plain, which is slow."""
PASSES = 3
"""Copies of every film in a shard, so that fixed costs of a shard (table, card, fsync) are spread as over hundreds."""
MAX_SIDES = (1536, 1024)
SIZES = ((3000, 2500), (2880, 2880), (3320, 2720), (3480, 2840))
"""7.5 to 9.9 megapixels."""
NOISE = {12: 9.0, 14: 22.0}
"""Bits → standard deviation of the added noise at mid-range; JPEG lossless then takes about 6 and 8 bits a pixel."""

_THIS_MODULE = sys.modules[__name__]
STAGES: dict[str, dict[str, list[tuple[Any, str]]]] = {
    "bare": {name: [(_THIS_MODULE, f"bare_{name}")] for name in ("read", "decode", "shrink", "encode")},
    "ours": {
        "read": [(shard_writer, "_read")],
        "header": [(pydicom, "dcmread")],
        "decode": [(sample, "decode"), (decode, "read_frame"), (decode, "place_bits"), (decode, "find_hidden_pixels")],
        "sha256": [(sample, "pixel_sha256")],
        "shrink": [(sample, "shrink"), (sample, "to_shard_values")],
        "encode": [(sample, "encode_film")],
        "display": [(sample, "histogram"), (sample, "derive_display")],
        "checks": [(sample, name) for name in ("halved", "apply_display", "content_mask", "polarity_suspect",
            "empty_exposure", "measure_clipping", "perceptual_hash")],
        "tar": [(shard_writer, "_add")],
    },
}  # fmt: skip
"""Method → stage → functions whose time it is, without the time of other functions in this table."""

Mark = Callable[[], None]
"""Function that is called after every film."""


@dataclass(frozen=True)
class Times:
    """Milliseconds per film."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Case:
    """A file format at a film size of the shards.

    Attributes:
        name: name of the format.
        max_side: longest side of films in the shard, in pixels.
        files: (path, manifest row), as options to a worker.
        pixels: (offset, length) of the pixels within each file.
        shapes: rows and columns of each file.
    """

    name: str
    max_side: int
    files: Sequence[tuple[str, Mapping[str, Any]]]
    pixels: Sequence[tuple[int, int]]
    shapes: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class CaseTimes:
    """Times of a case: times by method, and processor milliseconds per film by method and stage."""

    case: Case
    times: Mapping[str, Times]
    stages: Mapping[str, Mapping[str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the films, measure and print."""
    parser = argparse.ArgumentParser(
        prog="mae-rad bench throughput", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=12, help="number of films (default: 12)")
    parser.add_argument("--size", metavar="ROWSxCOLUMNS", help="film size (default: four of 7.5 to 9.9 megapixels)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: 5)")
    parser.add_argument("--processes", type=int, default=1, help="parallel processes, each on one core (default: 1)")
    options = parser.parse_args(arguments)
    sizes = (tuple(int(side) for side in options.size.split("x")),) if options.size else SIZES
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder), options.films, sizes)
        cores = sorted(os.sched_getaffinity(0))[: options.processes]
        if len(cores) == 1:
            measured = [measure(cases, options.rounds, cores[0])]
        else:
            with spawn_pool(len(cores)) as pool:
                jobs = [pool.submit(measure, cases, options.rounds, core) for core in cores]
                measured = [job.result() for job in jobs]
    for number, results in enumerate(measured, 1):
        print(f"\nprocess {number} of {len(measured)}" if len(measured) > 1 else "")
        for result in results:
            show(result)


# films


def make_cases(folder: Path, films: int, sizes: Sequence[tuple[int, ...]]) -> list[Case]:
    """Write and scan films in every format.

    Args:
        folder: folder to write into.
        films: number of films.
        sizes: (rows, columns) of the films, in turn.
    """
    (folder / "secret").write_text("only for this benchmark, and long enough")
    drawn = [draw_film(*draws, sizes[number % len(sizes)]) for number, draws in enumerate(_choose(films))]
    cases = []
    for name, (syntax, _) in FORMATS.items():
        archive, private = folder / name / "archive", folder / name / "private"
        archive.mkdir(parents=True)
        for number, (dataset, values, bits) in enumerate(drawn):
            set_pixels(dataset, values, bits, syntax)
            (archive / f"{number}.dcm").write_bytes(file_bytes(dataset, syntax))
        scan([archive], private, ScanSettings(key_file=folder / "secret", workers=1))
        paths = read_linkage(private)["path"].to_pylist()
        files = list(zip(paths, read_manifest(private).to_pylist(), strict=True))
        bits_stored = sum(8 * row["file_size"] for _, row in files) / sum(values.size for _, values, _ in drawn)
        print(f"{name}: {films} films, {bits_stored:.1f} bits a pixel")
        pixels, shapes = [_pixels(path) for path, _ in files], [(row["rows"], row["columns"]) for _, row in files]
        cases += [Case(name, side, PASSES * files, PASSES * pixels, PASSES * shapes) for side in MAX_SIDES]
    return cases


def _choose(films: int) -> Iterator[tuple[PatientDraw, StudyDraw, FilmDraw]]:
    """Yield films of scanners with 12 and 14 bits in turn, each of another patient."""
    for number in range(films):
        index, studies = number, list[StudyDraw]()
        while not studies:
            patient = draw_patient(3, index, films)
            studies = [study for study in patient.studies if SCANNERS[study.look].bits == sorted(NOISE)[number % 2]]
            index += films
        yield patient, studies[0], studies[0].films[0]


def draw_film(
    patient: PatientDraw, study: StudyDraw, draw: FilmDraw, size: tuple[int, ...]
) -> tuple[pydicom.Dataset, NDArray[np.uint16], int]:
    """Render a film.

    Returns:
        DICOM data set without pixels, [rows, columns] stored values, bits.
    """
    bits = SCANNERS[study.look].bits
    top = 2**bits - 1
    film = render(patient.anatomy, study, replace(draw, objects=(), fracture=None))
    large = cv2.resize(film.stored.astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    noise = np.random.Generator(np.random.SFC64(draw.seed)).standard_normal(large.shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.6) / np.float32(0.48)  # detector blur correlates the noise
    large += noise * np.sqrt(np.maximum(large, 0) * np.float32(2 / top)) * np.float32(NOISE[bits])
    patient_person = person(patient.archive, patient.index, patient.anatomy, patient.studies[0].day)
    study_visit = visit(patient.archive, patient.index, study.index, study.day, study.look, patient.anatomy.sex)
    values = np.asarray(np.clip(np.rint(large), 0, top), dtype=np.uint16)
    return film_dataset(patient, study, draw, film, patient_person, study_visit), values, bits


def _pixels(path: str) -> tuple[int, int]:
    """Find (offset, length) of the pixels, or of their only codestream, within the file."""
    data = Path(path).read_bytes()
    header = pydicom.dcmread(io.BytesIO(data))
    compressed = header.file_meta.TransferSyntaxUID.is_compressed
    stream = next(generate_frames(header.PixelData, number_of_frames=1)) if compressed else header.PixelData
    return data.index(stream), len(stream)


# methods


def bare(case: Case, out: Path, mark: Mark) -> None:
    """Read, decode, resize and encode."""
    for (path, _), pixels, shape in zip(case.files, case.pixels, case.shapes, strict=True):
        data = bare_read(path, *pixels)
        values = bare_decode(data, shape, case.name)
        bare_encode(bare_shrink(values, shrunk_size(*shape, case.max_side)))
        mark()


def bare_read(path: str, offset: int, length: int) -> memoryview:
    """Read the pixels of a file at a known position."""
    return memoryview(Path(path).read_bytes())[offset : offset + length]


def bare_decode(data: memoryview, shape: tuple[int, int], form: str) -> NDArray[np.uint16]:
    """Decode the stored values."""
    if form == "uncompressed":
        return np.frombuffer(data, "<u2").reshape(shape)
    return np.asarray(imagecodecs.jpeg8_decode(data))  # type: ignore[arg-type]


def bare_shrink(values: NDArray[np.uint16], size: tuple[int, int]) -> NDArray[np.uint16]:
    """Resize by area averaging of integers with OpenCV, the fastest method."""
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA))


def bare_encode(values: NDArray[np.uint16]) -> bytes:
    """Encode the codestream of a shard."""
    return bytes(imagecodecs.htj2k_encode(values, reversible=True, tlm=True, resolutions=5))


class _Watch:
    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    def begins(self, row: int) -> None:
        pass

    def ends(self, films: int, refused: int) -> None:
        self._mark()


def ours(case: Case, out: Path, mark: Mark) -> None:
    """Write a shard of all films."""
    task = ShardTask("train-000000", "train", case.files, case.max_side, "c" * 64, "i" * 64, reject_empty=True)
    card = write_shard(task, out, _Watch(mark))
    assert isinstance(card, ShardCard) and card.films == len(case.files)


def plain(case: Case, out: Path, mark: Mark) -> None:
    """Convert as typical scripts do, in the fastest form: float32 early, box filter, fastest level of PNG."""
    import webdataset  # noqa: PLC0415 - not among the dependencies

    with webdataset.ShardWriter(str(out / "plain-%06d.tar"), verbose=0) as writer:
        for number, (path, _) in enumerate(case.files):
            film = pydicom.dcmread(path)
            shown = np.asarray(apply_voi_lut(film.pixel_array, film), dtype=np.float32)
            size = shrunk_size(film.Rows, film.Columns, case.max_side)
            small = np.asarray(Image.fromarray(shown).resize(size[::-1], Image.Resampling.BOX))
            small = (small - small.min()) * (65535 / (small.max() - small.min()))
            if film.PhotometricInterpretation == "MONOCHROME1":
                small = 65535 - small
            png = io.BytesIO()
            Image.fromarray(small.astype(np.uint16)).save(png, "PNG", compress_level=1)
            writer.write({"__key__": f"{number:08}", "png": png.getvalue()})
            mark()


# measurement


def measure(cases: Sequence[Case], rounds: int, core: int) -> list[CaseTimes]:
    """Measure times and stages of every case on one core."""
    os.sched_setaffinity(0, {core})
    cv2.setNumThreads(1)  # as in workers of mae-rad shard
    logging.disable(logging.INFO)
    ways = {"bare": bare, "ours": ours}
    if importlib.util.find_spec("gdcm") and importlib.util.find_spec("webdataset"):
        ways["plain"] = plain
    results = []
    for case in cases:
        laps: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        stages: dict[str, list[dict[str, float]]] = defaultdict(list)
        for number in range(rounds):
            for way, run in ways.items():
                if way != "plain" or number < PLAIN_ROUNDS:
                    laps[way].append(_laps(run, case))
                if way in STAGES:
                    stages[way].append(_stages(way, run, case))
        times = {way: Times(*np.min(times_of, axis=0).sum(axis=0) / len(case.files)) for way, times_of in laps.items()}
        best = {
            way: {name: min(entry[name] for entry in rounds_of) for name in rounds_of[0]}
            for way, rounds_of in stages.items()
        }
        results.append(CaseTimes(case, times, best))
    return results


def _laps(run: Callable[[Case, Path, Mark], None], case: Case) -> NDArray[np.float64]:
    """[films + 1, 2] wall and processor milliseconds of each film, and after the last."""
    marks = []
    with tempfile.TemporaryDirectory() as folder:
        marks.append((time.perf_counter(), time.process_time()))
        run(case, Path(folder), lambda: marks.append((time.perf_counter(), time.process_time())))
        marks.append((time.perf_counter(), time.process_time()))
    return 1000 * np.diff(marks, axis=0)


def _stages(way: str, run: Callable[[Case, Path, Mark], None], case: Case) -> dict[str, float]:
    """Processor milliseconds per film of every stage of a method."""
    spent: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder, _watched(way, spent):
        begin = time.process_time()
        run(case, Path(folder), lambda: None)
        spent["rest"] = time.process_time() - begin - sum(spent.values())
    return {stage: 1000 * seconds / len(case.files) for stage, seconds in spent.items()}


@contextmanager
def _watched(way: str, spent: dict[str, float]) -> Iterator[None]:
    """Add the exclusive time of the functions of STAGES to ``spent``."""
    inner: list[float] = []

    def watched(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            inner.append(0.0)
            begin = time.process_time()
            try:
                return function(*args, **options)
            finally:
                took = time.process_time() - begin
                spent[stage] += took - inner.pop()
                if inner:
                    inner[-1] += took

        return timed

    with ExitStack() as stack:
        for stage, functions in STAGES[way].items():
            spent[stage] = 0.0
            for module, name in functions:
                stack.enter_context(patch.object(module, name, watched(stage, getattr(module, name))))
        yield


# output


def show(result: CaseTimes) -> None:
    """Print the result of a case."""
    goal = FORMATS[result.case.name][1]
    base, mine = result.times["bare"], result.times["ours"]
    print(f"{result.case.name}, films of at most {result.case.max_side} pixels a side; ms per film")
    for way, spent in result.times.items():
        stages = "   ".join(f"{stage} {milliseconds:.1f}" for stage, milliseconds in result.stages.get(way, {}).items())
        print(
            f"  {way:5}  wall {spent.wall:6.1f}   cpu {spent.cpu:6.1f}   {stages and 'cpu by stage:'} {stages}".rstrip()
        )
    reached = "reached" if base.cpu / mine.cpu >= goal else "MISSED"
    ratio = base.wall / mine.wall, base.cpu / mine.cpu
    print(f"  speed of bare  {ratio[0]:.2f} wall, {ratio[1]:.2f} cpu  (goal {goal:.2f}: {reached})")
    if "plain" in result.times:
        ratio = result.times["plain"].wall / mine.wall, result.times["plain"].cpu / mine.cpu
        reached = "reached" if ratio[1] >= PLAIN_GOAL else "MISSED"
        print(f"  times plain    {ratio[0]:.2f} wall, {ratio[1]:.2f} cpu  (goal {PLAIN_GOAL:.1f}: {reached})")
    else:
        print("  plain was not measured: python-gdcm or webdataset is not installed")
