"""Speed of scanning against bare pydicom on the same headers. Run: python -m tests.benchmarks.sharding.scan_speed

Baseline: one process, ``dcmread(stop_before_pixels=True)`` and the same tags read from the data set; no keys, no
screening, no table. The scan has to reach 70 % of it, everything included: listing, keys, screening, linkage, tables,
files synced to disk.
"""

import argparse
import cProfile
import logging
import os
import pstats
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

from data_prep.archive import header_pool
from data_prep.archive.dicom_file import _FACTS
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from tests.builders.dicom_builder import DX_FOR_PRESENTATION, write_film

ELEMENTS = 200
TARGET = 0.70
_VALUES: dict[str, Any] = {
    "LO": "Musterklinik Nord, Radiologie", "SH": "RAUM 4", "DS": "1.25", "CS": "CODE_A", "IS": "12", "DA": "20200131",
    "TM": "101010.123", "UI": "1.2.276.0.7230010.3.1.4.811.4242", "LT": "Befund siehe oben. " * 4, "PN": "Muster^Ida",
    "ST": "Anschrift " * 5, "US": 3, "FD": 2.5,
}  # fmt: skip
_SKIPPED = {"ConversionType", "BurnedInAnnotation", "NumberOfFrames", "SpecificCharacterSet", "SmallestImagePixelValue"}


def make_archive(archive: Path, films: int) -> None:
    """Films of about ELEMENTS elements: what a DX header holds, further ones of the dictionary, sequences, private."""
    usable = [
        (tag, entry[4], entry[0])
        for tag, entry in DicomDictionary.items()
        if entry[0] in _VALUES and entry[1] == "1" and not entry[3] and entry[4] not in _SKIPPED
    ]
    usable = [one for one in usable if 0x0008 <= one[0] >> 16 <= 0x0054 and one[0] >> 16 != 0x0028]
    draw = np.random.default_rng(0)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D3000", "SRT", "Chest"
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "R1", "S1"
    request.ScheduledProtocolCodeSequence = [code, code]
    for number in range(films):
        chosen = draw.choice(len(usable), ELEMENTS - 45, replace=False)
        filler = {usable[place][1]: _VALUES[usable[place][2]] for place in chosen}
        facts: dict[str, Any] = {
            "BodyPartExamined": "CHEST", "ViewPosition": "PA", "PatientAge": "044Y", "PatientSex": "F",
            "PatientBirthDate": "19700101", "PatientName": "Muster^Ida", "AccessionNumber": f"A{number}",
            "PixelSpacing": [0.143, 0.143], "ImagerPixelSpacing": [0.143, 0.143], "Manufacturer": "Siemens",
            "ManufacturerModelName": "Ysio", "InstitutionName": "Klinik", "StationName": "R4", "Modality": "DX",
            "ImageType": ["ORIGINAL", "PRIMARY", ""], "PresentationIntentType": "FOR PRESENTATION",
            "AnatomicRegionSequence": [code], "ViewCodeSequence": [code], "RequestAttributesSequence": [request],
        }  # fmt: skip
        values = np.zeros((64, 64), dtype=np.uint16)
        path = archive / f"{number // 50:04d}" / f"{number:06d}.dcm"
        attributes = filler | facts
        for keyword in ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "SOPClassUID", "SeriesInstanceUID"):
            attributes.pop(keyword, None)
        write_film(path, values=values, sop_class=DX_FOR_PRESENTATION, patient_id=f"P{number // 3}", **attributes)


def bare(files: list[Path]) -> int:
    """The baseline; how many values it has read."""
    found = 0
    for file in files:
        header = dcmread(file, stop_before_pixels=True)
        found += sum(header.get(keyword) is not None for keyword in _FACTS)
    return found


def best(work: Callable[[], object], rounds: int = 3) -> float:
    """Shortest time of some rounds, in seconds."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> None:
    """Print baseline, ratio, breakdown, rescan and slow storage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=2000)
    films = parser.parse_args().films
    os.environ["MAE_RAD_KEY"] = "the secret of this benchmark"
    logging.disable()
    folder = Path(tempfile.mkdtemp())
    try:
        _measure(folder, films)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, films: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_archive(folder / "archive", films)
        files = sorted(path for path in (folder / "archive").rglob("*") if path.is_file())
        elements = np.mean([len(dcmread(file, stop_before_pixels=True)) for file in files[:50]])
        print(f"{films} films, {elements:.0f} elements, {files[0].stat().st_size - 8192} bytes of header")
        private = folder / "private"

        def whole(**settings: Any) -> None:
            shutil.rmtree(private, ignore_errors=True)
            scan([folder / "archive"], private, ScanSettings(**settings))

        baseline = best(lambda: bare(files))
        alone = best(lambda: whole(workers=1, read_ahead=1))
        ahead = best(lambda: whole(workers=1))
    ratio = baseline / min(alone, ahead)
    print(f"baseline        {films / baseline:8.0f} files/s   {1e3 * baseline / films:.2f} ms a file")
    for name, seconds in (("scan", alone), ("scan, read ahead", ahead)):
        print(f"{name:<16}{films / seconds:8.0f} files/s   {1e3 * seconds / films:.2f} ms a file")
    print(f"ratio           {ratio:8.2f}   (wanted: {TARGET}) {'holds' if ratio >= TARGET else 'FALLS SHORT'}")
    for file in files:
        os.utime(file, (1.6e9, 1.6e9))
    scan([folder / "archive"], private, ScanSettings(workers=1))
    unchanged = best(lambda: scan([folder / "archive"], private, ScanSettings(workers=1)))
    print(f"scan again      {films / unchanged:8.0f} files/s   (nothing has changed)")
    _profile(lambda: whole(workers=1, read_ahead=1), films)
    _slow_storage(whole, films)


def _profile(work: Callable[[], object], films: int) -> None:
    profile = cProfile.Profile()
    profile.runcall(work)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    wanted = {
        "read_partial": "pydicom: parse", "_film": "facts of a film", "_texts": "  values (pydicom: convert)",
        "_key": "  keys", "from_pylist": "tables", "list_files": "listing", "_open": "opening, first 64 KiB",
        "write_headers": "all of reading", "write_manifest": "manifest, linkage", "patients": "who is who",
    }  # fmt: skip
    print("breakdown (under the profiler, which slows Python code; µs a file, cumulated)")
    for (_, _, name), (_, _, _, cumulated, _) in sorted(stats.items(), key=lambda item: -item[1][3]):
        if name in wanted:
            print(f"  {wanted.pop(name):<32}{1e6 * cumulated / films:8.0f}")


def _slow_storage(whole: Callable[..., None], films: int) -> None:
    """Every opening takes 20 ms, as on a busy network disk."""
    opened = header_pool._open  # replaced for a while

    def slow(*args: Any, **known: Any) -> Any:
        time.sleep(0.02)
        return opened(*args, **known)

    header_pool._open = slow
    try:
        for ahead in (1, 8, 32):
            begun = time.perf_counter()
            whole(workers=1, read_ahead=ahead)
            print(f"slow storage, read_ahead={ahead:<3} {1e3 * (time.perf_counter() - begun) / films:8.2f} ms a file")
    finally:
        header_pool._open = opened


if __name__ == "__main__":
    main()
