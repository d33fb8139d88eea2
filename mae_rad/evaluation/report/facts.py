"""Facts of a comparison, ``facts.json``: what the report states besides the rows of ``comparison.parquet``.

Values that fewer than MIN_PATIENTS patients share are not named.
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

from data_prep.folder_url import PublicFolder
from data_prep.runtime.atomic_write import atomic_text
from data_prep.settings import Settings
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs
from mae_rad.evaluation.comparison.differences import encoder_pairs
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.tasks import ProbeTask, SkippedTask
from mae_rad.evaluation.results.rows import Role, Row

FACTS = "facts.json"
_TOO_FEW = re.compile(r"([^;:,()]+): (\d+) training and (\d+) test patients")
RARE = f"values of fewer than {MIN_PATIENTS} patients"


class Count(Settings):
    """Numbers of films and patients."""

    films: int
    patients: int


class TaskFacts(Settings):
    """A task and its films."""

    name: str
    classes: dict[str, Count]
    """Class → test films and patients; rare classes are combined under RARE. Empty for a task of numbers."""
    binary: bool
    """Whether the classes are absent and present."""
    splits: dict[str, Count]
    left_out: dict[str, int]
    """Reason → number of films."""
    sources: dict[str, int] = Field(default={})
    """Source of labels (expert, report, metadata) → number of films."""
    number: str = ""
    """Description of the predicted numbers; empty for a task of classes."""


class EncoderFacts(Settings):
    """A compared encoder."""

    name: str
    method: str
    about: str
    """Description of model and training in one line."""
    group: str = ""
    """Group of runs that repeat one method."""
    other_films: bool = False
    """Whether it was pretrained on other films, which may include test patients."""
    role: Role = "encoder"
    """Whether it is compared with floors and ceilings, or is one of them."""


class Mismatch(Settings):
    """Two groups of runs of one arm that are not matched, and the reason."""

    encoder: str
    reference: str
    arm: str
    why: str


class Facts(Settings):
    """Facts of one comparison."""

    format_version: int = 1
    dataset_sha256: str
    joined: dict[str, str] = Field(default={})
    """Checksums of joined shard folders, and whether the user said that they share no patient."""
    config_sha256: str
    version: str
    written_on: str
    splits: dict[str, Count]
    files: dict[str, int]
    """Files of the archive: number written, rejected, dropped."""
    reject_reasons: dict[str, int]
    same_pixels_across_splits: int
    tasks: list[TaskFacts]
    not_asked: dict[str, str]
    """Task that could not be evaluated → reason."""
    encoders: list[EncoderFacts]
    mismatches: list[Mismatch] = Field(default=[])
    repetitions: int
    """Resamples of the test patients."""
    relevant_difference: float
    """Smallest relevant difference."""
    score_on: str = "test"
    """Split whose films were scored: test, or val, whose films then have the place of the test films."""
    cross_fit: int = 0
    """Number of folds of the test patients in which probes were fitted and scored; 0: fitted to the training split."""

    @property
    def groups(self) -> dict[str, str]:
        """Encoder → its group."""
        return {encoder.name: encoder.group or encoder.name for encoder in self.encoders}

    def mismatch(self, encoder: str, reference: str, arm: str) -> str:
        """Return why two groups of runs are not matched.

        Args:
            encoder: first group of runs.
            reference: second group of runs.
            arm: arm of the comparison.

        Returns:
            The reasons; empty if the groups are matched.
        """
        pair = encoder, reference, arm
        return "; ".join(
            mismatch.why for mismatch in self.mismatches if (mismatch.encoder, mismatch.reference, mismatch.arm) == pair
        )


def build_facts(inputs: ComparisonInputs, other_skipped: Sequence[SkippedTask]) -> Facts:
    """Collect the facts of a comparison.

    Args:
        inputs: inputs of the comparison.
        other_skipped: retrieval and shortcut tasks that were skipped.
    """
    settings, films = inputs.settings, inputs.films
    files, reasons, copies = files_and_reasons(settings.shards)
    return Facts(
        dataset_sha256=films.dataset_sha256,
        joined=dict(films.joined),
        config_sha256=settings.config_sha256,
        version=version("mae_rad"),
        written_on=datetime.now(UTC).date().isoformat(),
        splits=split_counts(films),
        files=files,
        reject_reasons=reasons,
        same_pixels_across_splits=copies,
        tasks=[task_facts(task, label_sources(films, task)) for task in inputs.tasks],
        not_asked={task.name: hide_rare_values(task.reason) for task in [*inputs.skipped, *other_skipped]},
        encoders=[_encoder_facts(candidate) for candidate in inputs.candidates],
        mismatches=[
            Mismatch(encoder=pair.encoder, reference=pair.reference, arm=pair.arm, why=pair.note)
            for pair in encoder_pairs(inputs.candidates, settings.match_tolerance)
            if pair.note
        ],
        repetitions=settings.repetitions,
        relevant_difference=settings.relevant_difference,
        score_on=settings.score_on,
        cross_fit=settings.cross_fit,
    )


def _encoder_facts(candidate: Candidate) -> EncoderFacts:
    return EncoderFacts(
        name=candidate.name,
        method=candidate.method,
        group=candidate.group,
        about=candidate.described,
        other_films=candidate.other_films,
        role=candidate.role,
    )


def split_counts(films: Films) -> dict[str, Count]:
    """Count films and patients per split."""
    return {split: _count(films.patients[films.split == split]) for split in ("train", "val", "test")}


def files_and_reasons(shards: Sequence[PublicFolder]) -> tuple[dict[str, int], dict[str, int], int]:
    """Sum over all folders: result → files, reject reason → files, and films with equal pixels in another split."""
    files = dict.fromkeys(("written", "rejected", "dropped"), 0)
    reasons: dict[str, int] = {}
    copies = 0
    for public in shards:
        for folder in generation_folders(public):
            card = read_dataset_card(folder)
            for name in files:
                files[name] += getattr(card.files, name)
            for reason, count in card.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
            copies += card.same_pixels_across_splits
    return files, dict(sorted(reasons.items(), key=lambda item: -item[1])), copies


def task_facts(task: ProbeTask, sources: Mapping[str, int]) -> TaskFacts:
    """Collect the facts of a task.

    Args:
        task: films and their classes.
        sources: source of labels → number of films.
    """
    test = task.split == "test"
    classes = task.classes if task.numbers is None else ()
    counts = {name: _count(task.patients[test & (task.y == number)]) for number, name in enumerate(classes)}
    rare_classes = [name for name, count in counts.items() if count.patients < MIN_PATIENTS]
    named_counts = {name: count for name, count in counts.items() if name not in rare_classes}
    if rare_classes:
        named_counts[RARE] = _count(
            task.patients[test & np.isin(task.y, [task.classes.index(name) for name in rare_classes])]
        )
    left_out: dict[str, int] = {}
    for reason, films in task.left_out.items():
        public_reason = hide_rare_values(reason)
        left_out[public_reason] = left_out.get(public_reason, 0) + films
    return TaskFacts(
        name=task.name,
        classes=named_counts,
        binary=task.classes == ("absent", "present"),
        splits={split: _count(task.patients[task.split == split]) for split in ("train", "val", "test")},
        left_out=left_out,
        sources=dict(sources),
        number=_numbers_text(task, test),
    )


def _numbers_text(task: ProbeTask, test: NDArray[np.bool_]) -> str:
    """Describe the numbers of the test films by their quartiles; these are no value of a single patient."""
    if task.numbers is None:
        return ""
    text = f"a number{f' in {task.unit}' if task.unit else ''}"
    if len(np.unique(task.patients[test])) < 4 * MIN_PATIENTS:
        return text
    low, median, high = np.quantile(task.numbers[test], [0.25, 0.5, 0.75])
    return f"{text}, median {median:g}, middle half {low:g} to {high:g}"


def label_sources(films: Films, task: ProbeTask) -> dict[str, int]:
    """Count the films per source of the labels of a task.

    Args:
        films: films of all splits.
        task: films and their classes.

    Returns:
        Source → number of films; empty for a task of an index column.
    """
    if task.label is None:
        return {}
    kind = "value" if task.numbers is None else "number"
    table = films.labels.filter(pc.and_(pc.equal(films.labels["label"], task.label), pc.is_valid(films.labels[kind])))
    counts = table.group_by("source").aggregate([("key", "count_distinct")]).to_pylist()
    return {str(row["source"]): int(row["key_count_distinct"]) for row in counts}


def hide_rare_values(text: str) -> str:
    """Remove from a reason of :mod:`tasks` the names of values of fewer than MIN_PATIENTS patients."""

    def public_reason(match: re.Match[str]) -> str:
        return match[0] if int(match[2]) + int(match[3]) >= MIN_PATIENTS else "a rare value: too few patients"

    return _TOO_FEW.sub(public_reason, text)


def hide_rare_subsets(rows: Sequence[Row]) -> list[Row]:
    """Replace the value of subsets of fewer than MIN_PATIENTS patients by a number."""
    replaced: dict[str, str] = {}
    for row in rows:
        column, is_value, _ = row.subset.partition("=")
        if is_value and row.n_patients < MIN_PATIENTS and row.subset not in replaced:
            replaced[row.subset] = f"{column}=rare {sum(name.startswith(f'{column}=') for name in replaced) + 1}"
    return [replace(row, subset=replaced.get(row.subset, row.subset)) for row in rows]


def write_facts(facts: Facts, folder: Path) -> None:
    """Write ``facts.json``, atomically."""
    atomic_text(folder / FACTS, facts.model_dump_json(indent=1) + "\n")


def read_facts(folder: Path) -> Facts:
    """Read what :func:`write_facts` wrote.

    Raises:
        EvaluationError: the file is missing, damaged or of another release.
    """
    path = folder / FACTS
    try:
        return Facts.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist. Write it with: mae-rad compare") from None
    except (OSError, UnicodeDecodeError, ValidationError):
        raise EvaluationError(f"{path} is damaged or of another release. Write it with: mae-rad compare") from None


def _count(patients: NDArray[np.int64]) -> Count:
    return Count(films=len(patients), patients=len(np.unique(patients)))
