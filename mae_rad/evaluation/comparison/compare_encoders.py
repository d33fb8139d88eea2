"""Evaluate every encoder on every task and return the rows of ``comparison.parquet``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.runtime.progress import Progress
from mae_rad.encoders.pooling_name import LAST_BLOCK_POOLS
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.clustering import measure_clustering
from mae_rad.evaluation.comparison.confusions import Confusion, confusions_of
from mae_rad.evaluation.comparison.differences import ComparedMetric, encoder_pairs, metric_rows, with_verdicts
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.floors_and_ceilings import with_floors_and_ceilings
from mae_rad.evaluation.comparison.geometry_rows import geometry_rows
from mae_rad.evaluation.comparison.label_draws import unlabelled_rows
from mae_rad.evaluation.comparison.retrieval import measure_retrieval, retrieval_tasks
from mae_rad.evaluation.comparison.settings import CompareSettings, VectorChoice
from mae_rad.evaluation.comparison.shortcuts import shortcut_tasks, with_shortcut_notes, within_rows
from mae_rad.evaluation.comparison.subsets import subsets_of
from mae_rad.evaluation.comparison.tasks import ProbeTask, SkippedTask
from mae_rad.evaluation.comparison.trained_probes import (
    ProbeOutputs,
    ProbePlan,
    compared_metrics,
    plan_probe,
    probe_tokens,
    probe_vectors,
)
from mae_rad.evaluation.probes.linear_and_knn import ProbeOutput
from mae_rad.evaluation.results.rows import Row

_CLUSTERED = ("body_part", "view")
"""Tasks whose classes the clusters are compared with."""
TOKENS = "attentive"
"""The probe that needs patch tokens."""


class ComparisonOutput(NamedTuple):
    """Rows of a comparison, the retrieval and shortcut tasks that were skipped, and the confusion of classes."""

    rows: list[Row]
    skipped: list[SkippedTask]
    confusions: list[Confusion]


class ComparisonInputs(NamedTuple):
    """Inputs of a comparison.

    Attributes:
        encoders: compared encoders with their vectors.
        films: films of all splits.
        lacking: reason → [films] bool, some encoder has no vector of the film.
        boxes: table of the boxes of objects.
        plans: tasks with the films of their probes.
        skipped: tasks that cannot be evaluated.
        settings: settings of the comparison.
    """

    encoders: Sequence[EmbeddedCandidate]
    films: Films
    lacking: Mapping[str, NDArray[np.bool_]]
    boxes: pa.Table
    plans: Sequence[ProbePlan]
    skipped: Sequence[SkippedTask]
    settings: CompareSettings

    @property
    def tasks(self) -> list[ProbeTask]:
        """The tasks of the probes."""
        return [plan.task for plan in self.plans]

    @property
    def candidates(self) -> list[Candidate]:
        """The compared encoders, without vectors."""
        return [encoder.candidate for encoder in self.encoders]

    @property
    def first(self) -> VectorChoice:
        """T and pooling of the vectors that all analyses use."""
        return self.settings.choices[0]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """[films] bool: every encoder has a vector of the film."""
        out = np.ones(len(self.films.keys), dtype=np.bool_)
        for mask in self.lacking.values():
            out &= ~mask
        return out

    def encoders_of(self, choice: int, fraction: float) -> list[EmbeddedCandidate]:
        """Return the encoders for which choice number ``choice`` selects a vector that no earlier choice selects.

        At an equal width these are all encoders, or none if no vector is wider. Encoders whose pretraining read more
        labels than ``fraction`` are left out.
        """
        *before, tokens_and_pool = self.settings.choices[: choice + 1]
        if tokens_and_pool.components and not any(encoder.is_wider(tokens_and_pool) for encoder in self.encoders):
            return []
        return [
            encoder
            for encoder in self.encoders_with(fraction)
            if encoder.tokens_and_pool(tokens_and_pool) not in [encoder.tokens_and_pool(other) for other in before]
        ]

    def encoders_with(self, fraction: float) -> list[EmbeddedCandidate]:
        """Return the encoders whose pretraining read no more labels than ``fraction``."""
        return [encoder for encoder in self.encoders if encoder.candidate.labels_fraction <= fraction]


def compare(inputs: ComparisonInputs) -> ComparisonOutput:
    """Evaluate every encoder on every task and analysis."""
    confusions: list[Confusion] = []
    rows = list(_probe_rows(inputs, confusions))
    skipped: list[SkippedTask] = []
    for analysis in inputs.settings.analyses:
        new_rows, new_skipped = _ANALYSES[analysis](inputs)
        rows += new_rows
        skipped += new_skipped
    rows = with_shortcut_notes(with_verdicts(rows, inputs.settings))
    return ComparisonOutput(with_floors_and_ceilings(rows, inputs.candidates), skipped, confusions)


def _compared_rows(inputs: ComparisonInputs, metrics: Iterable[ComparedMetric], seed: int) -> Iterator[Row]:
    compared = encoder_pairs(inputs.candidates, inputs.settings.match_tolerance)
    for plan in metrics:
        yield from metric_rows(plan, inputs.candidates, compared, inputs.settings, seed)


def _probe_rows(inputs: ComparisonInputs, confusions: list[Confusion]) -> Iterator[Row]:
    """Rows of the trained probes: all labels for every choice of vectors, fewer for the first and at an equal width.

    The confusions of the linear probe are added to ``confusions``.
    """
    settings = inputs.settings
    fractions = sorted({1.0, *settings.label_fractions}, reverse=True)
    choices = settings.choices
    places = [
        (number, fraction)
        for number, choice in enumerate(choices)
        for fraction in fractions
        if fraction == 1 or number == 0 or choice.components
    ]
    attentive = _attentive_outputs(inputs, fractions) if TOKENS in settings.probes else {}
    on_vectors = [probe for probe in settings.probes if probe != TOKENS]
    count = (
        sum(len(inputs.encoders_of(choice, fraction)) for choice, fraction in places)
        * len(inputs.plans)
        * len(on_vectors)
    )
    progress = Progress("compare", "probes", count)
    for plan in inputs.plans:
        for probe in on_vectors:
            for choice, fraction in places:
                encoders = inputs.encoders_of(choice, fraction)
                outputs = probe_vectors(
                    plan, encoders, probe, choices[choice], fraction, lambda name: progress.add(note=name)
                )
                if (probe, choice, fraction) == ("linear", 0, 1.0):
                    confusions += confusions_of(plan, outputs)
                yield from _output_rows(inputs, plan, outputs, probe, choice, fraction)
        for fraction, outputs_of_task in attentive.items():
            yield from _output_rows(inputs, plan, outputs_of_task[plan.task.name], TOKENS, 0, fraction)
    progress.close()


def _attentive_outputs(
    inputs: ComparisonInputs, fractions: Sequence[float]
) -> dict[float, dict[str, dict[str, list[ProbeOutput]]]]:
    """Return label fraction → task → encoder → output of the attentive probe per draw."""
    encoders = {
        fraction: [encoder for encoder in inputs.encoders_with(fraction) if encoder.tokens is not None]
        for fraction in fractions
    }
    progress = Progress("attentive probe", "trainings", sum(map(len, encoders.values())))
    outputs = {
        fraction: probe_tokens(
            inputs.plans, encoders[fraction], fraction, inputs.settings.seed, lambda name: progress.add(note=name)
        )
        for fraction in fractions
    }
    progress.close()
    return outputs


def _unusual_widths(inputs: ComparisonInputs, choice: int) -> dict[str, str]:
    """Return encoder → note of the width of vectors that are not pooled from the last block alone, or were reduced."""
    selected = inputs.settings.choices[choice]
    return {
        encoder.name: f"vectors of {encoder.width(selected)} numbers"
        for encoder in inputs.encoders
        if selected.components or encoder.stored(selected)[1] not in (*LAST_BLOCK_POOLS, "none")
    }


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _output_rows(
    inputs: ComparisonInputs, plan: ProbePlan, outputs: ProbeOutputs, probe: str, choice: int, fraction: float
) -> Iterator[Row]:
    """Rows of probe outputs; with all labels and the first choice of vectors also by subset and within one scanner."""
    if not outputs:
        return
    whole = fraction == 1 and choice == 0
    tokens_and_pool = {
        encoder.name: encoder.tokens_and_pool(inputs.settings.choices[choice]) for encoder in inputs.encoders
    }
    vectors = {name: (tokens, TOKENS if probe == TOKENS else pool) for name, (tokens, pool) in tokens_and_pool.items()}
    subsets = subsets_of(plan, inputs.films, inputs.settings, inputs.boxes) if whole else {}
    widths = _unusual_widths(inputs, choice) if probe != TOKENS else {}
    metrics = [
        replace(metric, notes={name: _joined(note, widths.get(name, "")) for name, note in metric.notes.items()})
        for metric in compared_metrics(
            plan, outputs, probe=probe, vectors=vectors, choice=choice, fraction=fraction, subsets=subsets
        )
    ]
    yield from _compared_rows(inputs, iter(metrics), plan.seed)
    if whole and probe != "knn" and "shortcuts" in inputs.settings.analyses:
        whole_metric = metrics[0]
        sizes = film_sizes(inputs.encoders)
        _, values, _ = shortcut_tasks(inputs.films, inputs.settings, sizes, inputs.lacking)
        for column, of_films in values.items():
            yield from within_rows(plan, outputs, of_films, column, inputs.candidates, inputs.settings, whole_metric)


def film_sizes(encoders: Sequence[EmbeddedCandidate]) -> NDArray[np.float32] | None:
    """Return the sizes [films, 2] of the films, from the embedding by an encoder; None if all vectors are external."""
    encoder_with_pools = next((encoder for encoder in encoders if encoder.has_pools), None)
    return None if encoder_with_pools is None else next(iter(encoder_with_pools.stores.values())).sizes


def _retrieval(inputs: ComparisonInputs) -> tuple[list[Row], list[SkippedTask]]:
    encoders_with_tokens, skipped = retrieval_tasks(inputs.films, inputs.usable, inputs.settings.seed)
    training_rows = _training_rows(inputs)
    rows: list[Row] = []
    for task in encoders_with_tokens:
        metrics = measure_retrieval(task, inputs.encoders, inputs.films, training_rows, inputs.first)
        rows += _compared_rows(inputs, metrics, inputs.settings.seed)
    return rows, skipped


def _clustering(inputs: ComparisonInputs) -> tuple[list[Row], list[SkippedTask]]:
    rows: list[Row] = []
    for plan in inputs.plans:
        if plan.task.name in _CLUSTERED and plan.task.numbers is None:
            metrics = measure_clustering(plan.task, inputs.encoders, plan.seed, inputs.first)
            rows += _compared_rows(inputs, metrics, plan.seed)
    return rows, []


def _geometry(inputs: ComparisonInputs) -> tuple[list[Row], list[SkippedTask]]:
    return geometry_rows(inputs.encoders, inputs.films, inputs.usable, inputs.settings.seed, inputs.first), []


def _shortcuts(inputs: ComparisonInputs) -> tuple[list[Row], list[SkippedTask]]:
    """Predict the shortcuts with a linear probe."""
    tasks, _, skipped = shortcut_tasks(inputs.films, inputs.settings, film_sizes(inputs.encoders), inputs.lacking)
    vectors = {encoder.name: encoder.tokens_and_pool(inputs.first) for encoder in inputs.encoders}
    rows: list[Row] = []
    for task in tasks:
        plan = plan_probe(task, inputs.settings)
        outputs = probe_vectors(plan, inputs.encoders, "linear", inputs.first, 1.0, lambda _: None)
        metrics = compared_metrics(plan, outputs, probe="shortcut", vectors=vectors, choice=0, fraction=1.0, subsets={})
        rows += _compared_rows(inputs, metrics, plan.seed)
    return rows, skipped


def _training_rows(inputs: ComparisonInputs) -> NDArray[np.int64]:
    rows = unlabelled_rows(inputs.films, inputs.usable)
    return rows[:: max(1, len(rows) // inputs.settings.max_train_films)]


_ANALYSES = {"retrieval": _retrieval, "clustering": _clustering, "geometry": _geometry, "shortcuts": _shortcuts}
