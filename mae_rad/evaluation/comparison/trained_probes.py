"""Train the probes of all encoders on a task, and compute the metrics of their outputs on the test films."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for
from mae_rad.embedding.standardised_rows import Vectors
from mae_rad.encoders.precision import fast_device
from mae_rad.evaluation.comparison.differences import ComparedMetric
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate
from mae_rad.evaluation.comparison.label_draws import Fold, draw_folds
from mae_rad.evaluation.comparison.settings import CompareSettings, VectorChoice
from mae_rad.evaluation.comparison.tasks import ProbeTask
from mae_rad.evaluation.multiclass.class_metrics import OVER_FILMS, log_probabilities, probability_estimates
from mae_rad.evaluation.probes.attentive import AttentiveTask, attentive_scores
from mae_rad.evaluation.probes.linear_and_knn import (
    PROBES,
    ProbeOutput,
    SplitData,
    has_validation_patients,
    patients_per_class,
    run_probe,
)
from mae_rad.evaluation.probes.number_probes import NUMBER_PROBES
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, estimates, number_estimates

ProbeOutputs = Mapping[str, Sequence[ProbeOutput]]
"""Encoder → outputs on the test films of a task, one per draw of labels."""

_VAL_FRACTION = 0.2
"""Fraction of the training patients that become validation patients of the attentive probe if val has too few."""


@dataclass(frozen=True)
class ProbePlan:
    """A task with the films of its probes.

    Attributes:
        task: films and their classes or numbers.
        seed: seed of all random draws of the task.
        test: positions of the test films.
        draws: fraction of the labels → the draws of labelled patients, with their folds.
    """

    task: ProbeTask
    seed: int
    test: NDArray[np.int64]
    draws: Mapping[float, Sequence[Sequence[Fold]]]

    def rows(self) -> NDArray[np.int64]:
        """Return the films, as rows of the index, that a probe of this plan uses."""
        places = [part for draws in self.draws.values() for folds in draws for fold in folds for part in fold]
        return np.asarray(self.task.rows[np.unique(np.concatenate([self.test, *places]))])

    def test_priors(self, folds: Sequence[Fold]) -> Floats:
        """Return the class frequencies [test films, C] of the training films of the probe that scored each film."""
        priors = [np.tile(_priors(self.task, fold.train), (len(fold.test), 1)) for fold in folds]
        return np.asarray(self.in_test(priors, folds), dtype=np.float64)

    def in_test(self, values_of_folds: Sequence[NDArray[Any]], folds: Sequence[Fold]) -> NDArray[Any]:
        """Return the values [test films, …] of the test films of all folds, in the order of the test films."""
        order = np.argsort(np.concatenate([fold.test for fold in folds]), kind="stable")
        return np.asarray(np.concatenate(list(values_of_folds))[order])


def plan_probe(task: ProbeTask, settings: CompareSettings) -> ProbePlan:
    """Draw the training films of a task at every fraction of the labels.

    Args:
        task: films and their classes.
        settings: settings of the comparison.
    """
    fractions = sorted({*settings.label_fractions, 1.0}, reverse=True)
    draws = {
        fraction: [
            draw_folds(task, fraction, draw, settings.max_train_films, settings.seed)
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
    probes = PROBES if task.numbers is None else NUMBER_PROBES
    for encoder in encoders:
        vectors = encoder.vectors(choice, task.rows)

        def part(places: NDArray[np.int64], vectors: Vectors = vectors) -> SplitData:
            return SplitData(vectors.take(places), task.targets[places], task.patients[places])

        outputs[encoder.name] = [
            _merged(
                plan,
                folds,
                [
                    run_probe(
                        probes[probe],
                        part(fold.train),
                        part(fold.val),
                        vectors.take(fold.test),
                        len(task.classes),
                        plan.seed,
                    )
                    for fold in folds
                ],
            )
            for folds in plan.draws[fraction]
        ]
        on_done(encoder.name)
    return outputs


def _merged(plan: ProbePlan, folds: Sequence[Fold], outputs: Sequence[ProbeOutput]) -> ProbeOutput:
    """Merge the outputs of the folds into one for all test films."""
    scores = plan.in_test([output.scores for output in outputs], folds)
    return ProbeOutput(scores, _note([output.note for output in outputs], "folds"))


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
            outputs: dict[str, list[ProbeOutput]] = {plan.task.name: [] for plan in plans}
            for number in range(max(len(plan.draws[fraction][draw]) for plan in plans)):
                tasks = {
                    plan.task.name: _attentive_task(plan, plan.draws[fraction][draw][number])
                    for plan in plans
                    if number < len(plan.draws[fraction][draw])
                }
                fold_outputs = attentive_scores(encoder.tokens, tasks, encoder.heads, seed + draw, device)
                for name, output in fold_outputs.items():
                    outputs[name].append(output)
            for plan in plans:
                merged = _merged(plan, plan.draws[fraction][draw], outputs[plan.task.name])
                out[plan.task.name].setdefault(encoder.name, []).append(merged)
        on_done(encoder.name)
    return out


def _attentive_task(plan: ProbePlan, fold: Fold) -> AttentiveTask:
    task, val_description = plan.task, "val"
    train, val, test = fold
    if not _has_val(task, val):
        train, val, val_description = _split_off_val(plan, train)
    labelled = np.concatenate([train, val])
    return AttentiveTask(
        classes=len(task.classes),
        train=task.rows[train],
        val=task.rows[val],
        test=task.rows[test],
        y=dict(zip(task.rows[labelled].tolist(), task.targets[labelled].tolist(), strict=True)),
        val_description=val_description,
        is_number=task.numbers is not None,
    )


def _has_val(task: ProbeTask, val: NDArray[np.int64]) -> bool:
    return has_validation_patients(task.targets[val], task.patients[val], len(task.classes))


def _split_off_val(plan: ProbePlan, train: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Move a part of the training patients to val; val is empty if a class would have too few patients."""
    task = plan.task
    patients = np.unique(task.patients[train])
    val_patients = patients[
        generator_for("held out", plan.seed).permutation(len(patients))[: round(_VAL_FRACTION * len(patients))]
    ]
    is_val = np.isin(task.patients[train], val_patients)
    fit, val = train[~is_val], train[is_val]
    if not _has_val(task, val):
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
    trained = [fold.train for folds in draws for fold in folds]
    for subset, in_subset in {"all": np.ones(len(y), dtype=np.bool_), **subsets}.items():
        functions = {
            name: [
                _estimates(plan, folds, output, in_subset) for output, folds in zip(encoder_outputs, draws, strict=True)
            ]
            for name, encoder_outputs in outputs.items()
        }
        fewest = patients_per_class(y[in_subset], patients[in_subset], len(task.classes))
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
                biased=metric == "calibration_error",
                min_class_patients=0 if metric in OVER_FILMS else fewest,
                unit=task.unit,
                spread=1.0 if task.numbers is None else float(task.numbers[plan.test].std()),
                n_train=round(float(np.mean([len(train) for train in trained]))),
                n_train_patients=round(float(np.mean([len(np.unique(task.patients[train])) for train in trained]))),
            )


def _estimates(
    plan: ProbePlan, folds: Sequence[Fold], output: ProbeOutput, in_subset: NDArray[np.bool_]
) -> dict[str, Estimate]:
    """Return the metrics of the outputs of one draw on the test films ``in_subset``."""
    task = plan.task
    if task.numbers is not None:
        return number_estimates(task.numbers[plan.test][in_subset], output.scores[in_subset, 0])
    y, scores = task.y[plan.test][in_subset], output.scores[in_subset]
    out = estimates(y, scores, plan.test_priors(folds)[in_subset])
    return out | probability_estimates(y, log_probabilities(scores)) if len(task.classes) > 2 else out


def _priors(task: ProbeTask, train: NDArray[np.int64]) -> Floats:
    return np.asarray(np.bincount(task.y[train], minlength=len(task.classes)) / len(train), dtype=np.float64)


def _note(notes: Sequence[str], of: str = "draws") -> str:
    return notes[0] if len(notes) == 1 else f"{len(notes)} {of}: {', '.join(dict.fromkeys(notes))}"
