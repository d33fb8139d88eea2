"""``facts.json``: what a report tells beside the numbers. With ``comparison.parquet`` a page can be made anew from it.

A value that fewer than MIN_PATIENTS patients share is not named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from data_prep.runtime.atomic_write import atomic_text
from data_prep.settings import Settings, digest
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs
from mae_rad.evaluation.comparison.differences import pairs
from mae_rad.evaluation.comparison.tasks import Films, ProbeTask, Skipped
from mae_rad.evaluation.results.rows import Row

FACTS = "facts.json"
MIN_PATIENTS = 10
"""A value that fewer patients share is not named in what may be passed on, as in the census of shards."""
_TOO_FEW = re.compile(r"([^;:,()]+): (\d+) training and (\d+) test patients")
RARE = f"values of fewer than {MIN_PATIENTS} patients"


class Count(Settings):
    """Films and patients."""

    films: int
    patients: int


class TaskFacts(Settings):
    """One question and the films that it is put to."""

    name: str
    classes: dict[str, Count]
    """Class → test films and patients; rare ones together under RARE."""
    binary: bool
    """Whether it is asked for a finding (present or absent), or for one of several classes."""
    splits: dict[str, Count]
    left_out: dict[str, int]
    """Reason → films."""
    sources: dict[str, int] = Field(default={})
    """Where labels come from (expert, report, metadata) → films."""


class EncoderFacts(Settings):
    """One encoder."""

    name: str
    method: str
    about: str
    """One line: model, training."""
    group: str = ""
    """Runs of one group are repetitions of one method."""
    other_films: bool = False
    """Whether it was pretrained on other films, and so may have seen the test patients."""


class Mismatch(Settings):
    """Two groups of runs that an arm calls matched and that are not, and why."""

    encoder: str
    reference: str
    arm: str
    why: str


class Facts(Settings):
    """Of one comparison."""

    format_version: int = 1
    dataset_sha256: str
    config_sha256: str
    version: str
    written_on: str
    splits: dict[str, Count]
    files: dict[str, int]
    """What became of the files of the archive: written, rejected, dropped."""
    reject_reasons: dict[str, int]
    same_pixels_across_splits: int
    tasks: list[TaskFacts]
    not_asked: dict[str, str]
    """Task → why it could not be asked."""
    encoders: list[EncoderFacts]
    mismatches: list[Mismatch] = Field(default=[])
    repetitions: int
    """Resamples of the test patients."""
    relevant_difference: float
    """The smallest difference that matters."""

    @property
    def groups(self) -> dict[str, str]:
        """Encoder → its group."""
        return {encoder.name: encoder.group or encoder.name for encoder in self.encoders}

    def mismatch(self, encoder: str, reference: str, arm: str) -> str:
        """What is not matched between two groups of runs in ``arm``; empty where all is."""
        pair = encoder, reference, arm
        return "; ".join(one.why for one in self.mismatches if (one.encoder, one.reference, one.arm) == pair)


def facts_of(stage: ComparisonInputs, further: Sequence[Skipped]) -> Facts:
    """What a report says of a comparison; ``further`` could not be asked beside its tasks."""
    settings, films = stage.settings, stage.films
    files, reasons, twins = files_and_reasons(settings.shards)
    return Facts(
        dataset_sha256=films.dataset_sha256,
        config_sha256=digest(settings.model_copy(update={"out": Path(), "shards": [], "encoders": []})),
        version=version("mae_rad"),
        written_on=datetime.now(UTC).date().isoformat(),
        splits=split_counts(films),
        files=files,
        reject_reasons=reasons,
        same_pixels_across_splits=twins,
        tasks=[task_facts(task, label_sources(films, task)) for task in stage.tasks],
        not_asked={task.name: without_rare(task.reason) for task in [*stage.skipped, *further]},
        encoders=[_encoder_facts(candidate) for candidate in stage.candidates],
        mismatches=[
            Mismatch(encoder=pair.one, reference=pair.other, arm=pair.arm, why=pair.note)
            for pair in pairs(stage.candidates, settings.match_tolerance)
            if pair.note
        ],
        repetitions=settings.repetitions,
        relevant_difference=settings.relevant_difference,
    )


def _encoder_facts(candidate: Candidate) -> EncoderFacts:
    return EncoderFacts(
        name=candidate.name,
        method=candidate.method,
        group=candidate.group,
        about=candidate.described,
        other_films=candidate.other_films,
    )


def split_counts(films: Films) -> dict[str, Count]:
    """Split → films and patients."""
    return {split: _count(films.patients[films.split == split]) for split in ("train", "val", "test")}


def files_and_reasons(shards: Sequence[Path]) -> tuple[dict[str, int], dict[str, int], int]:
    """Of all folders: what became of the files, reject reason → files, films with a twin in another split."""
    files = dict.fromkeys(("written", "rejected", "dropped"), 0)
    reasons: dict[str, int] = {}
    twins = 0
    for public in shards:
        for folder in generation_folders(public):
            card = read_dataset_card(folder)
            for name in files:
                files[name] += getattr(card.files, name)
            for reason, count in card.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
            twins += card.same_pixels_across_splits
    return files, dict(sorted(reasons.items(), key=lambda item: -item[1])), twins


def task_facts(task: ProbeTask, sources: Mapping[str, int]) -> TaskFacts:
    """What a report says of a task."""
    test = task.split == "test"
    counts = {name: _count(task.patients[test & (task.y == number)]) for number, name in enumerate(task.classes)}
    rare = [name for name, count in counts.items() if count.patients < MIN_PATIENTS]
    shown = {name: count for name, count in counts.items() if name not in rare}
    if rare:
        shown[RARE] = _count(task.patients[test & np.isin(task.y, [task.classes.index(name) for name in rare])])
    left_out: dict[str, int] = {}
    for reason, films in task.left_out.items():
        named = without_rare(reason)
        left_out[named] = left_out.get(named, 0) + films
    return TaskFacts(
        name=task.name,
        classes=shown,
        binary=task.classes == ("absent", "present"),
        splits={split: _count(task.patients[task.split == split]) for split in ("train", "val", "test")},
        left_out=left_out,
        sources=dict(sources),
    )


def label_sources(films: Films, task: ProbeTask) -> dict[str, int]:
    """Where the labels of a task come from → films; nothing for a task that asks an index column."""
    if task.label is None:
        return {}
    table = films.labels.filter(
        pc.and_(pc.equal(films.labels["label"], task.label), pc.is_valid(films.labels["value"]))
    )
    counted = table.group_by("source").aggregate([("key", "count_distinct")]).to_pylist()
    return {str(row["source"]): int(row["key_count_distinct"]) for row in counted}


def without_rare(text: str) -> str:
    """A reason as :mod:`tasks` words it, the values of fewer than MIN_PATIENTS patients without their names."""

    def named(found: re.Match[str]) -> str:
        return found[0] if int(found[2]) + int(found[3]) >= MIN_PATIENTS else "a rare value: too few patients"

    return _TOO_FEW.sub(named, text)


def without_rare_subsets(rows: Sequence[Row]) -> list[Row]:
    """The rows; a subset by a value that fewer than MIN_PATIENTS patients share has a number in place of that value."""
    named: dict[str, str] = {}
    for row in rows:
        column, is_value, _ = row.subset.partition("=")
        if is_value and row.n_patients < MIN_PATIENTS and row.subset not in named:
            named[row.subset] = f"{column}=rare {sum(name.startswith(f'{column}=') for name in named) + 1}"
    return [replace(row, subset=named.get(row.subset, row.subset)) for row in rows]


def write_facts(facts: Facts, folder: Path) -> None:
    """Write ``facts.json``, atomically."""
    atomic_text(folder / FACTS, facts.model_dump_json(indent=1) + "\n")


def read_facts(folder: Path) -> Facts:
    """Read what :func:`write_facts` wrote.

    Raises:
        EvaluationError: it is missing, damaged or of another release.
    """
    path = folder / FACTS
    try:
        return Facts.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist; make it with: mae-rad compare") from None
    except (OSError, UnicodeDecodeError, ValidationError):
        raise EvaluationError(f"{path} is damaged or of another release; compare again") from None


def _count(patients: NDArray[np.int64]) -> Count:
    return Count(films=len(patients), patients=len(np.unique(patients)))
