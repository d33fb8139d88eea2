"""Who is compared: runs, tables of foreign vectors, the random floor and raw pixels, with what is known of each.

Nothing is embedded here; what cannot be compared is refused before anything takes time.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from mae_rad.data.shard_reader import combined
from mae_rad.embedding.film_vector import VectorSettings, vector_settings
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.errors import EvaluationError, ShardFormatError
from mae_rad.evaluation.comparison.budget import Budget, found_arms, read_budget, read_settings
from mae_rad.evaluation.comparison.settings import CompareSettings, EncoderEntry
from mae_rad.evaluation.results.rows import FLOOR, Arm, is_self_supervised
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_folder import read_card
from mae_rad.export.encoder_with_decoder_folder import encoder_folder
from mae_rad.pretraining.settings import PretrainSettings

PIXELS = "raw pixels"
"""Name of the principal components of the pixels."""


@dataclass(frozen=True)
class Candidate:
    """One encoder that is compared.

    Attributes:
        name: shown; unique.
        method: its objective, or how it came about: see ``results/rows.py``.
        group: runs of one group are repetitions of one method.
        arms: what it is matched with others in.
        seed: of the pretraining; of the initialisation for the floor.
        encoder_sha256: of its weights, or of what stands for them.
        folder: encoder folder, where it is one.
        table: of foreign vectors, where it is one.
        shape: of our own encoders.
        vector: T, pooling and precision of the vectors of our own encoders; None of what has but one vector.
        budget: what its training cost, where that is known.
        trained_on: checksum of the shards of its training, where that is known.
        other_films: it was trained on other shards, and may have seen films of the test.
        about: one line for people.
    """

    name: str
    method: str
    group: str
    arms: tuple[Arm, ...] = ()
    seed: int | None = None
    encoder_sha256: str = ""
    folder: Path | None = None
    table: Path | None = None
    shape: EncoderSettings | None = None
    vector: VectorSettings | None = None
    budget: Budget | None = None
    trained_on: str = ""
    other_films: bool = False
    about: str = ""

    @property
    def described(self) -> str:
        """``about`` with arithmetic and arms."""
        cost = [f"{self.budget.flops:.2g} FLOP"] if self.budget and self.budget.flops else []
        arms = [f"in the {' and the '.join(arm.replace('_', '-') for arm in self.arms)} arm"] if self.arms else []
        return ", ".join([self.about, *cost, *arms])


def find_candidates(runs: Sequence[Path], settings: CompareSettings, dataset_sha256: str) -> list[Candidate]:
    """Everything that is compared: runs of the command line, entries of the config, floor, pixels; in this order.

    Raises:
        EvaluationError: nothing to compare, two of one name, or a group of runs that do not repeat each other.
        WeightsError: a folder holds no encoder.
    """
    entries = [*(EncoderEntry(run=run) for run in runs), *settings.encoders]
    if not entries:
        raise EvaluationError("no run is given; name the run folders to compare")
    trained = [_trained(entry, settings, dataset_sha256) if entry.run else _foreign(entry) for entry in entries]
    first = next((candidate for candidate in trained if candidate.shape), None)
    floor = [_untrained(first, seed, settings) for seed in settings.random_seeds] if first else []
    pixels = [_pixels(settings)] if settings.pixel_components else []
    everyone = [*_grouped(_with_arms(trained, settings)), *floor, *pixels]
    names = [candidate.name for candidate in everyone]
    several = {candidate.group for candidate in everyone if candidate.group != candidate.name}
    if len(set(names)) < len(names) or several & set(names):
        raise EvaluationError(
            "give encoders different names: the names tell them apart in the report; those of run folders can be"
            " replaced by `name` under `encoders` of the config"
        )
    _check_groups(everyone, declared=any(candidate.arms for candidate in trained))
    return everyone


def _trained(entry: EncoderEntry, settings: CompareSettings, dataset_sha256: str) -> Candidate:
    folder = encoder_folder(entry.path)
    card = read_card(folder)
    known = card.provenance
    seed = known.get("seed")
    pretraining = read_settings(folder.parent)
    if seed is None and pretraining is not None:
        seed = pretraining.seed
    return Candidate(
        name=entry.title,
        method=entry.method or _method(card),
        group=entry.group,
        arms=tuple(entry.arms),
        seed=seed if isinstance(seed, int) else None,
        encoder_sha256=card.weights_sha256,
        folder=folder,
        shape=card.encoder,
        vector=vector_settings(card),
        budget=read_budget(folder.parent, known),
        trained_on=str(known.get("dataset_sha256") or ""),
        other_films=_other_films(folder.parent, known, settings, dataset_sha256),
        about=_about(card, pretraining),
    )


def _method(card: EncoderCard) -> str:
    if card.provenance.get("labels"):
        return "supervised"
    return str(card.provenance.get("method") or card.provenance.get("objective") or "imported")


def _about(card: EncoderCard, pretraining: PretrainSettings | None) -> str:
    """Backbone, films, tokens and augmentation: the budget of a run beside its arithmetic."""
    known = card.provenance
    parts = [f"{card.encoder.model}, {card.parameters / 1e6:.1f} million parameters"]
    parts += [f"{key.replace('_', ' ')} {known[key]}" for key in ("objective", "steps", "films_seen") if key in known]
    if known.get("labels"):
        parts.append(f"learned from labels of all its training films: {known['labels']}")
    if known.get("started_from_sha256"):
        parts.append("begun with the weights of another encoder, whose films and arithmetic are not known here")
    if "objective" in known:
        parts.append(f"T {card.preprocessing.tokens}")
    if pretraining is not None:
        view = next(iter(pretraining.objective.views().values()))
        varied = view.augmentation.model_dump(exclude_defaults=True)
        told = [f"{name.replace('_', ' ')} {_plainly(value)}" for name, value in varied.items()]
        parts += [f"visible {view.visible or 1:g}", f"augmentation: {', '.join(told) or 'none'}"]
    return ", ".join(parts)


def _plainly(value: object) -> str:
    return " to ".join(f"{one:g}" for one in value) if isinstance(value, tuple) else str(value)


def _other_films(run: Path, provenance: Mapping[str, object], settings: CompareSettings, dataset_sha256: str) -> bool:
    """Whether an encoder may have learned from films of our test: not if these shards were among its own."""
    known = provenance.get("dataset_sha256")
    if known == dataset_sha256:
        return False
    pretraining = read_settings(run)
    if pretraining is None:
        return True
    data = pretraining.data
    try:
        theirs, ours = (
            sorted(read_dataset_card(folder).dataset_sha256 for folder in folders)
            for folders in (
                [folder for public in data.shards for folder in generation_folders(public)[: data.generations]],
                [folder for public in settings.shards for folder in generation_folders(public)],
            )
        )
    except ShardFormatError:  # they are not where they were
        return True
    return combined(theirs) != known or not set(ours) <= set(theirs)


def _foreign(entry: EncoderEntry) -> Candidate:
    about = "vectors of a foreign model; what it has seen in training is not known here"
    return Candidate(
        entry.title,
        entry.method or "foreign",
        entry.group,
        tuple(entry.arms),
        table=entry.path,
        other_films=True,
        about=about,
    )


def _untrained(run: Candidate, seed: int, settings: CompareSettings) -> Candidate:
    """An encoder as it is initialised, of the shape of ``run``; its vectors are made at the T and with the pooling of
    ``run``.
    """
    shape = run.shape
    assert shape is not None  # the caller chose it so
    name = FLOOR if len(settings.random_seeds) == 1 else f"{FLOOR} {seed}"
    text = json.dumps(["untrained", shape.model_dump(mode="json", exclude=shape.off), seed, torch.__version__])
    return Candidate(
        name,
        "random",
        FLOOR,
        seed=seed,
        encoder_sha256=hashlib.sha256(text.encode()).hexdigest(),
        shape=shape,
        vector=run.vector,
        about=f"{shape.model} as it is initialised, without training",
    )


def _pixels(settings: CompareSettings) -> Candidate:
    about = f"{settings.pixel_components} principal components of the shrunken training films"
    return Candidate(PIXELS, "pca", PIXELS, about=about)


def _with_arms(candidates: Sequence[Candidate], settings: CompareSettings) -> list[Candidate]:
    """Those of self-supervised runs that declare no arm are found, unless another declares one."""
    if any(candidate.arms for candidate in candidates):
        return list(candidates)
    methods = {candidate.method for candidate in candidates if is_self_supervised(candidate.method)}
    if len(methods) < 2:
        return list(candidates)
    budgets = [candidate.budget if candidate.method in methods else None for candidate in candidates]
    arms = found_arms(budgets, settings.match_tolerance)
    return [replace(candidate, arms=own) for candidate, own in zip(candidates, arms, strict=True)]


def _grouped(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Every candidate with the name of its group: of runs that differ in the seed alone, or its own."""
    kinds = [
        candidate.group or f"{candidate.method} {candidate.arms} {_but_for_the_seed(candidate)}"
        for candidate in candidates
    ]
    named: dict[str, str] = {}
    for kind, candidate in zip(kinds, candidates, strict=True):
        if kind not in named and kinds.count(kind) > 1:
            name = candidate.group or _group_name(candidate)
            taken = sum(other == name or other.startswith(f"{name} (") for other in named.values())
            named[kind] = f"{name} ({taken + 1})" if taken else name
    return [
        replace(candidate, group=named.get(kind, candidate.name))
        for kind, candidate in zip(kinds, candidates, strict=True)
    ]


def _but_for_the_seed(candidate: Candidate) -> str:
    """What runs of one group share: settings, films, length; a run without settings shares it with none."""
    settings = read_settings(candidate.folder.parent) if candidate.folder else None
    if settings is None:
        return candidate.name
    films = candidate.budget.films if candidate.budget else candidate.name
    return json.dumps({**settings.results(), "seed": None, "films": films, "shards": candidate.trained_on})


def _check_groups(candidates: Sequence[Candidate], *, declared: bool) -> None:
    """Repetitions of one method differ in the seed; the same run twice would hide what another seed changes.

    Arms that were not ``declared`` but found may differ: what is not matched is then said of the pair.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.group, []).append(candidate)
    for name, members in groups.items():
        weights = [one.encoder_sha256 or str(one.table) for one in members]
        seeds = [one.seed for one in members if one.seed is not None]
        for what, differ in (
            ("have the same weights", len(set(weights)) < len(weights)),
            ("have the same seed", len(set(seeds)) < len(seeds)),
            ("are of several methods", len({one.method for one in members}) > 1),
            ("are in different arms", declared and len({frozenset(one.arms) for one in members}) > 1),
        ):
            if differ:
                raise EvaluationError(
                    f"runs of the group {name} {what}, so they are no repetitions of one method:"
                    " leave one out, or give them other groups under `encoders` of the config"
                )


def _group_name(candidate: Candidate) -> str:
    arms = " and ".join(arm.replace("_", "-") for arm in candidate.arms)
    return f"{candidate.method}, {arms}" if arms else candidate.method
