"""Train the probes of all encoders on a task, and compute the metrics of their outputs on the test films."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for
from mae_rad.embedding.standardised_rows import Vectors
from mae_rad.encoders.precision import fast_device
from mae_rad.evaluation.comparison.differences import ComparedMetric
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate
from mae_rad.evaluation.comparison.label_draws import LabelDraw, draw_labels, training_positions
from mae_rad.evaluation.comparison.settings import CompareSettings, VectorChoice
from mae_rad.evaluation.comparison.tasks import ProbeTask
from mae_rad.evaluation.probes.attentive import AttentiveTask, attentive_scores
from mae_rad.evaluation.probes.linear_and_knn import (
    PROBES,
    VALIDATION_PATIENTS,
    ProbeOutput,
    SplitData,
    patients_per_class,
    run_probe,
)
from mae_rad.evaluation.statistics.metrics import Floats, estimates

ProbeOutputs = Mapping[str, Sequence[ProbeOutput]]
"""Encoder → outputs on the test films of a task, one per draw of labels."""

_VAL_FRACTION = 0.2
"""Fraction of the training patients that become validation patients of the attentive probe if val has too few."""


@dataclass(frozen=True)
class ProbePlan:
    """A task with the films of its probes.

    Attributes:
        task: films and their classes.
        seed: seed of all random draws of the task.
        test: positions of the test films.
        draws: fraction of the labels → the draws of labelled patients.
    """

    task: ProbeTask
    seed: int
    test: NDArray[np.int64]
    draws: Mapping[float, Sequence[LabelDraw]]

    def rows(self) -> NDArray[np.int64]:
        """Return the films, as rows of the index, that a probe of this plan uses."""
        places = [part for draws in self.draws.values() for draw in draws for part in draw]
        return np.asarray(self.task.rows[np.unique(np.concatenate([self.test, *places]))])


def plan_probe(task: ProbeTask, settings: CompareSettings) -> ProbePlan:
    """Draw the training films of a task at every fraction of the labels.

    Args:
        task: films and their classes.
        settings: settings of the comparison.
    """
    train = training_positions(task, settings.max_train_films, settings.seed)
    fractions = sorted({*settings.label_fractions, 1.0}, reverse=True)
    draws = {
        fraction: [
            draw_labels(task, train, fraction, draw, settings.seed)
            for draw in range(1 if fraction == 1 else settings.label_draws)
        ]
        for fraction in fractions
    }
    return ProbePlan(
        task, int(generator_for("task", settings.seed, task.name).integers(2**31)), task.positions("test"), draws
    )


def probe_vectors(
    plan: ProbePlan,
    encoders: Sequence[EmbeddedCandidate],
    probe: str,
    choice: VectorChoice,
    fraction: float,
    on_done: Callable[[str], None],
) -> ProbeOutputs:
    """Train the linear probe or nearest neighbours on the vectors of every encoder.

    Args:
        plan: task with the films of its probes.
        encoders: embedded encoders.
        probe: linear or knn.
        choice: T and pooling of the vectors.
        fraction: fraction of the labels.
        on_done: called with the name of each finished encoder.
    """
    task, outputs = plan.task, {}
    for encoder in encoders:
        vectors = encoder.vectors(choice, task.rows)

        def part(places: NDArray[np.int64], vectors: Vectors = vectors) -> SplitData:
            return SplitData(vectors.take(places), task.y[places], task.patients[places])

        outputs[encoder.name] = [
            run_probe(
                PROBES[probe], part(draw.train), part(draw.val), vectors.take(plan.test), len(task.classes), plan.seed
            )
            for draw in plan.draws[fraction]
        ]
        on_done(encoder.name)
    return outputs


def probe_tokens(
    plans: Sequence[ProbePlan],
    encoders: Sequence[EmbeddedCandidate],
    fraction: float,
    seed: int,
    on_done: Callable[[str], None],
) -> dict[str, dict[str, list[ProbeOutput]]]:
    """Train the attentive probe on the patch tokens of every encoder that has them.

    Args:
        plans: tasks with the films of their probes.
        encoders: embedded encoders.
        fraction: fraction of the labels.
        seed: seed of the first draw.
        on_done: called with the name of each finished encoder.

    Returns:
        Task → encoder → outputs, one per draw of labels.
    """
    device = fast_device()
    out: dict[str, dict[str, list[ProbeOutput]]] = {plan.task.name: {} for plan in plans}
    for encoder in encoders:
        if encoder.tokens is None:
            continue
        for draw in range(len(plans[0].draws[fraction])):
            tasks = {plan.task.name: _attentive_task(plan, plan.draws[fraction][draw]) for plan in plans}
            encoder_outputs = attentive_scores(encoder.tokens, tasks, encoder.heads, seed + draw, device)
            for name, output in encoder_outputs.items():
                out[name].setdefault(encoder.name, []).append(output)
        on_done(encoder.name)
    return out


def _attentive_task(plan: ProbePlan, draw: LabelDraw) -> AttentiveTask:
    task, val_description = plan.task, "val"
    train, val = draw
    if patients_per_class(task.y[val], task.patients[val], len(task.classes)) < VALIDATION_PATIENTS:
        train, val, val_description = _split_off_val(plan, train)
    labelled = np.concatenate([train, val])
    return AttentiveTask(
        classes=len(task.classes),
        train=task.rows[train],
        val=task.rows[val],
        test=task.rows[plan.test],
        y=dict(zip(task.rows[labelled].tolist(), task.y[labelled].tolist(), strict=True)),
        val_description=val_description,
    )


def _split_off_val(plan: ProbePlan, train: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Move a part of the training patients to val; val is empty if a class would have too few patients."""
    task = plan.task
    patients = np.unique(task.patients[train])
    val_patients = patients[
        generator_for("held out", plan.seed).permutation(len(patients))[: round(_VAL_FRACTION * len(patients))]
    ]
    is_val = np.isin(task.patients[train], val_patients)
    fit, val = train[~is_val], train[is_val]
    if patients_per_class(task.y[val], task.patients[val], len(task.classes)) < VALIDATION_PATIENTS:
        return train, val[:0], "too few patients to choose"
    return fit, val, f"{_VAL_FRACTION:.0%} of the training patients"


def compared_metrics(
    plan: ProbePlan,
    outputs: ProbeOutputs,
    *,
    probe: str,
    vectors: Mapping[str, tuple[int, str]],
    choice: int,
    fraction: float,
    subsets: Mapping[str, NDArray[np.bool_]],
) -> Iterator[ComparedMetric]:
    """Return every metric of the outputs of a probe, on all test films and on each subset.

    Args:
        plan: task with the films of its probes.
        outputs: encoder → outputs of the probe, one per draw of labels.
        probe: value of the column ``probe``.
        vectors: encoder → T and pool.
        choice: position of T and pooling in ``CompareSettings.choices``.
        fraction: fraction of the labels.
        subsets: name → [test films] bool.
    """
    task = plan.task
    y, patients = task.y[plan.test], task.patients[plan.test]
    draws = plan.draws[fraction]
    for subset, in_subset in {"all": np.ones(len(y), dtype=np.bool_), **subsets}.items():
        functions = {
            name: [
                estimates(y[in_subset], output.scores[in_subset], _priors(task, draw.train))
                for output, draw in zip(encoder_outputs, draws, strict=True)
            ]
            for name, encoder_outputs in outputs.items()
        }
        for metric in next(iter(next(iter(functions.values()), []))):
            yield ComparedMetric(
                task=task.name,
                probe=probe,
                metric=metric,
                vectors=vectors,
                choice=choice,
                patients=patients[in_subset],
                estimates={name: [one_draw[metric] for one_draw in each] for name, each in functions.items()},
                notes={
                    name: _note([output.note for output in encoder_outputs])
                    for name, encoder_outputs in outputs.items()
                },
                subset=subset,
                label_fraction=fraction,
                min_class_patients=patients_per_class(y[in_subset], patients[in_subset], len(task.classes)),
                n_train=round(float(np.mean([len(draw.train) for draw in draws]))),
                n_train_patients=round(float(np.mean([len(np.unique(task.patients[d.train])) for d in draws]))),
            )


def _priors(task: ProbeTask, train: NDArray[np.int64]) -> Floats:
    return np.asarray(np.bincount(task.y[train], minlength=len(task.classes)) / len(train), dtype=np.float64)


def _note(notes: Sequence[str]) -> str:
    return notes[0] if len(notes) == 1 else f"{len(notes)} draws: {', '.join(dict.fromkeys(notes))}"
