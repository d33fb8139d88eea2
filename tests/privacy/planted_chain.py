"""The commands of data_prep on the archive of :mod:`tests.builders.planted.planted_archive`, and what they release."""

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from data_prep.cli.main import main
from tests.builders.dicom_builder import write_film
from tests.builders.planted.planted_archive import write_planted_archive
from tests.builders.planted.planted_person import Released, person, released_bytes
from tests.builders.private_builder import SECRET, anatomy

SPLITS = ["splits.val=0.2", "splits.test=0.2"]
SHARD = [*SPLITS, "max_side=128", "min_side=16", "runtime.workers=1", "runtime.isolated=false"]
CONSENT = "withdrawn consent"
"""The person whose films are removed."""


@contextlib.contextmanager
def printed_to(path: Path) -> Iterator[None]:
    """Append all that this process and those that it starts print or log to a file."""
    with path.open("a", encoding="utf-8") as file:
        handler = logging.StreamHandler(file)
        saved = [os.dup(number) for number in (1, 2)]
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
        finally:
            root.removeHandler(handler)
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


def run(printed: Path, words: Sequence[object], codes: Sequence[int] = (0,)) -> None:
    """Run a command; what it prints is appended to a file.

    Raises:
        AssertionError: it ends with another exit code than one of ``codes``.
    """
    with printed_to(printed):
        code = main([*map(str, words)])
    assert code in codes, f"{words[0]} ended with {code}: {printed.read_text()[-2000:]}"


def write_labels(folder: Path) -> list[str]:
    """A table with names of readers and free text, a COCO file and reports; arguments of ``label``."""
    reader, comment, coco, text = (person(place) for place in LABEL_PLACES)
    films = [f"i{number:04d}.dcm" for number in range(1, 30)]
    rows = [f"{film},fracture,{'present' if place % 2 else 'absent'},{reader.name}" for place, film in enumerate(films)]
    (folder / "labels.csv").write_text("\n".join(["path,label,value,reader", *rows]))
    wide = [f"{film},{place % 2}" for place, film in enumerate(films)]
    (folder / f"{comment.family}_{comment.number}.csv").write_text("\n".join(["path,implant", *wide]))
    report = f"{text.text}: Frau {text.given} {text.family}, geb. {text.birth:%d.%m.%Y}. Keine Fraktur."
    (folder / "reports.csv").write_text(
        "\n".join(["path,text", *(f'{film},"{report} Nr. {place}"' for place, film in enumerate(films))])
    )
    images = [{"id": place, "file_name": film, "patient": coco.text} for place, film in enumerate(films)]
    boxes = [{"image_id": place, "category_id": 1, "bbox": [3, 4, 20, 30], "note": coco.name} for place in range(9)]
    content = {"images": images, "annotations": boxes, "info": {"contributor": coco.text}, "licenses": [coco.name]}
    content["categories"] = [{"id": 1, "name": "metal", "supercategory": coco.family}]
    (folder / "boxes.json").write_text(repr(content).replace("'", '"'))
    words = ["--labels", folder / "labels.csv", "--labels", folder / f"{comment.family}_{comment.number}.csv"]
    words += ["--boxes", folder / "boxes.json", "--reports", folder / "reports.csv", "not_names=[]"]
    return [*map(str, words)]


LABEL_PLACES = ("reader of labels", "name of a table", "fields of COCO", "report text")


def make_release(root: Path) -> Released:
    """Run all commands in ``root``, and read all that they make except private folders."""
    archive, private, public, printed = root / "archive", root / "private", root / "public", root / "printed.txt"
    gone = person(CONSENT)
    write_planted_archive(archive)
    for number in range(3):
        write_film(archive / f"gone{number}.dcm", values=anatomy(number), patient_id=gone.number, PatientName=gone.name)
    scan = ["scan", archive, "--out", private, "workers=1"]
    run(printed, scan)
    run(printed, ["shard", private, "--out", public, *SHARD, "runtime.max_reject_fraction=1"])
    run(printed, ["bench-codecs", private, "--films", "3", *SHARD])
    for number in range(4):
        write_film(archive / f"new{number}.dcm", values=anatomy(f"new {number}"), patient_id=f"8{number:04d}")
    run(printed, scan)
    run(printed, ["append", private, "--out", public, "runtime.max_reject_fraction=1", *SHARD[-2:]])
    (root / "tables").mkdir()
    run(printed, ["label", private, "--out", public, *write_labels(root / "tables")])
    (root / "list.txt").write_text(f"{gone.number}\n")
    run(printed, ["remove", public, "--patients", root / "list.txt", "--private", private])
    run(printed, ["verify", public])
    run(printed, ["audit", public, "--private", private], (0, 1))
    made = root / "made"
    made.mkdir()
    run(printed, ["report", public, "--out", made / "report.html"])
    run(printed, ["preview", public, "--out", made / "preview.png"])
    run(printed, ["borders", public, "--out", made / "borders"])
    run(printed, ["census", public, "--out", made / "census"])
    run(printed, ["publish", public, f"file://{made}/published"])
    run(printed, ["verify", f"file://{made}/published"])
    jobs = ["slurm.cluster=local", "slurm.jobs=2", "slurm.cpus=1", "slurm.memory_gb=null"]
    run(printed, ["submit", private, "--out", made / "submitted", *SHARD, "runtime.max_reject_fraction=1", *jobs])
    parts = {f"public: {name}": data for name, data in released_bytes(public).items()}
    parts |= {f"made: {name}": data for name, data in released_bytes(made).items()}
    return Released(parts | {"printed and logged": printed.read_bytes()})


@contextlib.contextmanager
def temporary_files(folder: Path) -> Iterator[Path]:
    """Let temporary files be made in a folder of their own."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv("MAE_RAD_KEY", SECRET)
        yield folder


def files_below(folder: Path) -> bytes:
    """Names and bytes of all files of a folder, in small letters."""
    written = io.BytesIO()
    for path in sorted(folder.rglob("*")):
        written.write(os.fsencode(path.name) + b"\0")
        if path.is_file():
            written.write(path.read_bytes())
    return written.getvalue().lower()
