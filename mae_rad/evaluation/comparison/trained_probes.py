"""Tasks put to encoders through probes that are trained: what each answers on the test films, and how good that is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.seeded_random import generator_for
from mae_rad.embedding.standardised_rows import Vectors
from mae_rad.encoders.precision import fast_device
from mae_rad.evaluation.comparison.differences import ComparedMetric
from mae_rad.evaluation.comparison.embed_candidates import Encoded
from mae_rad.evaluation.comparison.label_draws import Labelled, labelled, training_places
from mae_rad.evaluation.comparison.settings import CompareSettings, VectorChoice
from mae_rad.evaluation.comparison.tasks import ProbeTask
from mae_rad.evaluation.probes.attentive import AttentiveTask, attentive_scores
from mae_rad.evaluation.probes.linear_and_knn import (
    PROBES,
    VALIDATION_PATIENTS,
    Part,
    Probed,
    patients_per_class,
    run_probe,
)
from mae_rad.evaluation.statistics.metrics import Floats, estimates

Answers = Mapping[str, Sequence[Probed]]
"""Encoder → what it says of the test films of a task, one per draw of labels."""

_HELD_OUT = 0.2
"""Of the training patients, where the attentive probe has too few in val to choose on."""


@dataclass(frozen=True)
class ProbePlan:
    """A task with the films that probes are fitted to.

    Attributes:
        task: what is asked.
        seed: of everything drawn for it.
        test: places of the test films.
        draws: fraction of the labels → the draws of labelled patients.
    """

    task: ProbeTask
    seed: int
    test: NDArray[np.int64]
    draws: Mapping[float, Sequence[Labelled]]

    def rows(self) -> NDArray[np.int64]:
        """Films, as rows of the index, that some probe of this plan looks at."""
        places = [part for draws in self.draws.values() for draw in draws for part in draw]
        return np.asarray(self.task.rows[np.unique(np.concatenate([self.test, *places]))])


def plan(task: ProbeTask, settings: CompareSettings) -> ProbePlan:
    """Fix which films are fitted, at every fraction of the labels."""
    train = training_places(task, settings.max_train_films, settings.seed)
    fractions = sorted({*settings.label_fractions, 1.0}, reverse=True)
    draws = {
        fraction: [
            labelled(task, train, fraction, draw, settings.seed)
            for draw in range(1 if fraction == 1 else settings.label_draws)
        ]
        for fraction in fractions
    }
    return ProbePlan(
        task, int(generator_for("task", settings.seed, task.name).integers(2**31)), task.places("test"), draws
    )


def ask_vectors(
    one: ProbePlan,
    encoders: Sequence[Encoded],
    probe: str,
    choice: VectorChoice,
    fraction: float,
    told: Callable[[str], None],
) -> Answers:
    """Linear probe or nearest neighbours on the vectors of every encoder; ``told`` hears of each that is done."""
    task, answers = one.task, {}
    for encoder in encoders:
        vectors = encoder.vectors(choice, task.rows)

        def part(places: NDArray[np.int64], vectors: Vectors = vectors) -> Part:
            return Part(vectors.take(places), task.y[places], task.patients[places])

        answers[encoder.name] = [
            run_probe(
                PROBES[probe], part(draw.train), part(draw.val), vectors.take(one.test), len(task.classes), one.seed
            )
            for draw in one.draws[fraction]
        ]
        told(encoder.name)
    return answers


def ask_tokens(
    plans: Sequence[ProbePlan], encoders: Sequence[Encoded], fraction: float, seed: int, told: Callable[[str], None]
) -> dict[str, dict[str, list[Probed]]]:
    """The attentive probe on the patch tokens of every encoder that has them; task → encoder → draws."""
    device = fast_device()
    out: dict[str, dict[str, list[Probed]]] = {one.task.name: {} for one in plans}
    for encoder in encoders:
        if encoder.tokens is None:
            continue
        for draw in range(len(plans[0].draws[fraction])):
            questions = {one.task.name: _question(one, one.draws[fraction][draw]) for one in plans}
            said = attentive_scores(encoder.tokens, questions, encoder.heads, seed + draw, device)
            for name, probed in said.items():
                out[name].setdefault(encoder.name, []).append(probed)
        told(encoder.name)
    return out


def _question(one: ProbePlan, draw: Labelled) -> AttentiveTask:
    task, how = one.task, "val"
    train, val = draw
    if patients_per_class(task.y[val], task.patients[val], len(task.classes)) < VALIDATION_PATIENTS:
        train, val, how = _held_out(one, train)
    known = np.concatenate([train, val])
    return AttentiveTask(
        classes=len(task.classes),
        train=task.rows[train],
        val=task.rows[val],
        test=task.rows[one.test],
        y=dict(zip(task.rows[known].tolist(), task.y[known].tolist(), strict=True)),
        how=how,
    )


def _held_out(one: ProbePlan, train: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """A part of the training patients to choose on; none where that would leave too few."""
    task = one.task
    names = np.unique(task.patients[train])
    drawn = names[generator_for("held out", one.seed).permutation(len(names))[: round(_HELD_OUT * len(names))]]
    held = np.isin(task.patients[train], drawn)
    fit, val = train[~held], train[held]
    if patients_per_class(task.y[val], task.patients[val], len(task.classes)) < VALIDATION_PATIENTS:
        return train, val[:0], "too few patients to choose"
    return fit, val, f"{_HELD_OUT:.0%} of the training patients"


def measure(
    one: ProbePlan,
    answers: Answers,
    *,
    probe: str,
    vectors: Mapping[str, tuple[int, str]],
    choice: int,
    fraction: float,
    subsets: Mapping[str, NDArray[np.bool_]],
) -> Iterator[ComparedMetric]:
    """Every metric of the answers, on all test films and on each of ``subsets`` (name → [test films] bool)."""
    task = one.task
    y, patients = task.y[one.test], task.patients[one.test]
    draws = one.draws[fraction]
    for subset, kept in {"all": np.ones(len(y), dtype=np.bool_), **subsets}.items():
        functions = {
            name: [
                estimates(y[kept], probed.scores[kept], _priors(task, draw.train))
                for probed, draw in zip(said, draws, strict=True)
            ]
            for name, said in answers.items()
        }
        for metric in next(iter(next(iter(functions.values()), []))):
            yield ComparedMetric(
                task=task.name,
                probe=probe,
                metric=metric,
                vectors=vectors,
                choice=choice,
                patients=patients[kept],
                estimates={name: [one_draw[metric] for one_draw in each] for name, each in functions.items()},
                notes={name: _note([probed.note for probed in said]) for name, said in answers.items()},
                subset=subset,
                label_fraction=fraction,
                least=patients_per_class(y[kept], patients[kept], len(task.classes)),
                n_train=round(float(np.mean([len(draw.train) for draw in draws]))),
                n_train_patients=round(float(np.mean([len(np.unique(task.patients[d.train])) for d in draws]))),
            )


def _priors(task: ProbeTask, train: NDArray[np.int64]) -> Floats:
    return np.asarray(np.bincount(task.y[train], minlength=len(task.classes)) / len(train), dtype=np.float64)


def _note(notes: Sequence[str]) -> str:
    return notes[0] if len(notes) == 1 else f"{len(notes)} draws: {', '.join(dict.fromkeys(notes))}"
