"""Every encoder × every question: the rows of comparison.parquet."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.runtime.progress import Progress
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.clustering import measure_clustering
from mae_rad.evaluation.comparison.differences import ComparedMetric, judged, pairs, rows_of
from mae_rad.evaluation.comparison.embed_candidates import Encoded
from mae_rad.evaluation.comparison.geometry_rows import geometry_rows
from mae_rad.evaluation.comparison.retrieval import measure_retrieval, questions
from mae_rad.evaluation.comparison.settings import CompareSettings, VectorChoice
from mae_rad.evaluation.comparison.shortcuts import named, shortcut_tasks, within_rows
from mae_rad.evaluation.comparison.subsets import subsets_of
from mae_rad.evaluation.comparison.tasks import Films, ProbeTask, Skipped
from mae_rad.evaluation.comparison.trained_probes import Answers, ProbePlan, ask_tokens, ask_vectors, measure, plan
from mae_rad.evaluation.probes.linear_and_knn import Probed
from mae_rad.evaluation.results.rows import Row

_CLUSTERED = ("body_part", "view")
"""Columns whose classes clusters are held against, where they are tasks."""
TOKENS = "attentive"
"""The probe that needs patch tokens."""


class Compared(NamedTuple):
    """What was found, and what could not be asked beside the tasks."""

    rows: list[Row]
    skipped: list[Skipped]


class ComparisonInputs(NamedTuple):
    """Everything that is put before the encoders.

    Attributes:
        encoders: with their vectors.
        films: of all splits.
        lacking: reason → [films] films that some encoder has no vector of.
        boxes: of objects.
        plans: the tasks, with the films that probes are fitted to.
        skipped: tasks that cannot be asked.
        settings: of the comparison.
    """

    encoders: Sequence[Encoded]
    films: Films
    lacking: Mapping[str, NDArray[np.bool_]]
    boxes: pa.Table
    plans: Sequence[ProbePlan]
    skipped: Sequence[Skipped]
    settings: CompareSettings

    @property
    def tasks(self) -> list[ProbeTask]:
        """What is asked."""
        return [one.task for one in self.plans]

    @property
    def candidates(self) -> list[Candidate]:
        """Who is asked."""
        return [encoder.candidate for encoder in self.encoders]

    @property
    def first(self) -> VectorChoice:
        """The vectors of which all analyses are made."""
        return self.settings.choices[0]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """[films] of which every encoder has a vector."""
        out = np.ones(len(self.films.keys), dtype=np.bool_)
        for mask in self.lacking.values():
            out &= ~mask
        return out

    def encoders_of(self, choice: int) -> list[Encoded]:
        """The encoders of which choice number ``choice`` takes a vector that no choice before it takes."""
        *before, chosen = self.settings.choices[: choice + 1]
        return [
            encoder
            for encoder in self.encoders
            if encoder.tokens_and_pool(chosen) not in [encoder.tokens_and_pool(other) for other in before]
        ]


def compare(stage: ComparisonInputs) -> Compared:
    """Put everything to everyone."""
    rows = list(_probes(stage))
    skipped: list[Skipped] = []
    for part in stage.settings.analyses:
        more, not_asked = _FURTHER[part](stage)
        rows += more
        skipped += not_asked
    return Compared(named(judged(rows, stage.settings)), skipped)


def _rows(stage: ComparisonInputs, measured: Iterable[ComparedMetric], seed: int) -> Iterator[Row]:
    compared = pairs(stage.candidates, stage.settings.match_tolerance)
    for one in measured:
        yield from rows_of(one, stage.candidates, compared, stage.settings, seed)


def _probes(stage: ComparisonInputs) -> Iterator[Row]:
    """Linear, neighbours and attentive: all labels for every choice of vectors, fewer labels for the first."""
    settings = stage.settings
    fractions = sorted({1.0, *settings.label_fractions}, reverse=True)
    choices = settings.choices
    places = [(0, fraction) for fraction in fractions] + [(choice, 1.0) for choice in range(1, len(choices))]
    attended = _attended(stage, fractions) if TOKENS in settings.probes else {}
    on_vectors = [probe for probe in settings.probes if probe != TOKENS]
    count = sum(len(stage.encoders_of(choice)) for choice, _ in places) * len(stage.plans) * len(on_vectors)
    progress = Progress("compare", "probes", count)
    for one in stage.plans:
        for probe in on_vectors:
            for choice, fraction in places:
                encoders = stage.encoders_of(choice)
                answers = ask_vectors(
                    one, encoders, probe, choices[choice], fraction, lambda name: progress.add(note=name)
                )
                yield from _answered(stage, one, answers, probe, choice, fraction)
        for fraction, answers_of in attended.items():
            yield from _answered(stage, one, answers_of[one.task.name], TOKENS, 0, fraction)
    progress.close()


def _attended(stage: ComparisonInputs, fractions: Sequence[float]) -> dict[float, dict[str, dict[str, list[Probed]]]]:
    """Fraction of the labels → task → encoder → draws of the attentive probe."""
    asked = [encoder for encoder in stage.encoders if encoder.tokens is not None]
    progress = Progress("attentive probe", "trainings", len(fractions) * len(asked))
    found = {
        fraction: ask_tokens(stage.plans, asked, fraction, stage.settings.seed, lambda name: progress.add(note=name))
        for fraction in fractions
    }
    progress.close()
    return found


def _answered(
    stage: ComparisonInputs, one: ProbePlan, answers: Answers, probe: str, choice: int, fraction: float
) -> Iterator[Row]:
    """Rows of the answers; with all labels and the first choice of vectors also by subset, and within one scanner."""
    if not answers:
        return
    whole = fraction == 1 and choice == 0
    chosen = {encoder.name: encoder.tokens_and_pool(stage.settings.choices[choice]) for encoder in stage.encoders}
    vectors = {name: (tokens, TOKENS if probe == TOKENS else pool) for name, (tokens, pool) in chosen.items()}
    subsets = subsets_of(one, stage.films, stage.settings, stage.boxes) if whole else {}
    measured = list(
        measure(one, answers, probe=probe, vectors=vectors, choice=choice, fraction=fraction, subsets=subsets)
    )
    yield from _rows(stage, iter(measured), one.seed)
    if whole and probe != "knn" and "shortcuts" in stage.settings.analyses:
        like = measured[0]
        sizes = sizes_of(stage.encoders)
        _, values, _ = shortcut_tasks(stage.films, stage.settings, sizes, stage.lacking)
        for column, of_films in values.items():
            yield from within_rows(one, answers, of_films, column, stage.candidates, stage.settings, like)


def sizes_of(encoders: Sequence[Encoded]) -> NDArray[np.float32] | None:
    """[films, 2] sizes that an encoder of our own has seen; None without one."""
    own = next((encoder for encoder in encoders if encoder.own_pools), None)
    return None if own is None else next(iter(own.stores.values())).sizes


def _retrieval(stage: ComparisonInputs) -> tuple[list[Row], list[Skipped]]:
    asked, skipped = questions(stage.films, stage.usable, stage.settings.seed)
    fitted = _training_rows(stage)
    rows: list[Row] = []
    for question in asked:
        measured = measure_retrieval(question, stage.encoders, stage.films, fitted, stage.first)
        rows += _rows(stage, measured, stage.settings.seed)
    return rows, skipped


def _clustering(stage: ComparisonInputs) -> tuple[list[Row], list[Skipped]]:
    rows: list[Row] = []
    for one in stage.plans:
        if one.task.name in _CLUSTERED:
            measured = measure_clustering(one.task, stage.encoders, one.seed, stage.first)
            rows += _rows(stage, measured, one.seed)
    return rows, []


def _geometry(stage: ComparisonInputs) -> tuple[list[Row], list[Skipped]]:
    return geometry_rows(stage.encoders, stage.films, stage.usable, stage.settings.seed, stage.first), []


def _shortcuts(stage: ComparisonInputs) -> tuple[list[Row], list[Skipped]]:
    """The shortcuts as tasks of a linear probe."""
    tasks, _, skipped = shortcut_tasks(stage.films, stage.settings, sizes_of(stage.encoders), stage.lacking)
    vectors = {encoder.name: encoder.tokens_and_pool(stage.first) for encoder in stage.encoders}
    rows: list[Row] = []
    for task in tasks:
        one = plan(task, stage.settings)
        answers = ask_vectors(one, stage.encoders, "linear", stage.first, 1.0, lambda _: None)
        measured = measure(one, answers, probe="shortcut", vectors=vectors, choice=0, fraction=1.0, subsets={})
        rows += _rows(stage, measured, one.seed)
    return rows, skipped


def _training_rows(stage: ComparisonInputs) -> NDArray[np.int64]:
    rows = np.flatnonzero(stage.usable & (stage.films.split == "train"))
    return rows[:: max(1, len(rows) // stage.settings.max_train_films)]


_FURTHER = {"retrieval": _retrieval, "clustering": _clustering, "geometry": _geometry, "shortcuts": _shortcuts}
