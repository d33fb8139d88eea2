"""Find the compared encoders: runs, tables of external vectors, the random baseline and raw pixels.

Nothing is embedded here: errors of runs are raised before the slow steps.
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
from mae_rad.encoders.any_encoder import AnyEncoderSettings
from mae_rad.encoders.pooling_name import LAST_BLOCK_POOLS
from mae_rad.errors import EvaluationError, ShardFormatError, StorageError
from mae_rad.evaluation.comparison.compute_budget import Budget, infer_arms, read_budget, read_settings
from mae_rad.evaluation.comparison.settings import CompareSettings, EncoderEntry
from mae_rad.evaluation.results.rows import FLOORS, RANDOM_BASELINE, RAW_PIXELS, Arm, Role, is_self_supervised
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_folder import read_card
from mae_rad.export.encoder_with_decoder_folder import encoder_folder
from mae_rad.pretraining.settings import PretrainSettings


@dataclass(frozen=True)
class Candidate:
    """One compared encoder.

    Attributes:
        name: displayed name; unique.
        method: value of the column ``method``, see ``results/rows.py``.
        group: group of runs that repeat one method.
        arms: arms in which it is matched with others.
        seed: seed of the pretraining, or of the initialisation of a random encoder.
        encoder_sha256: checksum of its weights, or of the description that replaces them.
        folder: encoder folder; None for external vectors, random encoders and pixels.
        table: table of external vectors, else None.
        shape: settings of the encoder; None for external vectors and pixels.
        vector: T, pooling and precision of its vectors; None if it has a single vector per film.
        budget: films and FLOPs of its training, if known.
        trained_on: checksum of the shards of its training, empty if unknown.
        other_films: it was trained on other shards, which may contain test patients.
        about: description in one line.
        is_ceiling: what is possible on these films: other encoders are read towards its score.
        labels_fraction: share of the patients whose labels its pretraining read; it is compared at such a share of the
            labels and larger ones.
    """

    name: str
    method: str
    group: str
    arms: tuple[Arm, ...] = ()
    seed: int | None = None
    encoder_sha256: str = ""
    folder: Path | None = None
    table: Path | None = None
    shape: AnyEncoderSettings | None = None
    vector: VectorSettings | None = None
    budget: Budget | None = None
    trained_on: str = ""
    other_films: bool = False
    about: str = ""
    is_ceiling: bool = False
    labels_fraction: float = 0.0

    @property
    def role(self) -> Role:
        """Role in the comparison."""
        return "floor" if self.group in FLOORS else "ceiling" if self.is_ceiling else "encoder"

    @property
    def described(self) -> str:
        """``about`` with FLOPs and arms."""
        cost = [f"{self.budget.flops:.2g} FLOP"] if self.budget and self.budget.flops else []
        arms = [f"in the {' and the '.join(arm.replace('_', '-') for arm in self.arms)} arm"] if self.arms else []
        return ", ".join([self.about, *cost, *arms])


def find_candidates(runs: Sequence[Path], settings: CompareSettings, dataset_sha256: str) -> list[Candidate]:
    """Find all compared encoders: runs of the command line, entries of the config, random encoders, pixels.

    Args:
        runs: run folders of the command line.
        settings: settings of the comparison.
        dataset_sha256: checksum of the shards of the comparison.

    Returns:
        The encoders in this order.

    Raises:
        EvaluationError: nothing to compare, two equal names, or a group of runs that do not repeat one method.
        WeightsError: a folder holds no encoder.
    """
    entries = [*(EncoderEntry(run=run) for run in runs), *settings.encoders]
    if not entries:
        raise EvaluationError("no run is given. Give the run folders to compare.")
    given_encoders = [
        _run_candidate(entry, settings, dataset_sha256) if entry.run else _table_candidate(entry) for entry in entries
    ]
    with_shape = [candidate for candidate in given_encoders if candidate.shape]
    first = next((candidate for candidate in with_shape if not candidate.is_ceiling), next(iter(with_shape), None))
    random_encoders = [_random_candidate(first, seed, settings) for seed in settings.random_seeds] if first else []
    pixels = [_pixel_candidate(settings)] if settings.pixel_components else []
    candidates = [*_with_groups(_with_arms(given_encoders, settings)), *random_encoders, *pixels]
    names = [candidate.name for candidate in candidates]
    groups_of_several = {candidate.group for candidate in candidates if candidate.group != candidate.name}
    if len(set(names)) < len(names) or groups_of_several & set(names):
        raise EvaluationError(
            "two encoders have the same name. Give encoders different names: rename the run folder, or set `name` under"
            " `encoders` of the config."
        )
    _check_groups(candidates, declared=any(candidate.arms for candidate in given_encoders))
    return candidates


def _run_candidate(entry: EncoderEntry, settings: CompareSettings, dataset_sha256: str) -> Candidate:
    folder = encoder_folder(entry.path)
    card = read_card(folder)
    for pool in settings.pools or ():
        vector_settings(card, pool=pool)  # raises if the encoder lacks a block
    provenance = card.provenance
    seed = provenance.get("seed")
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
        budget=read_budget(folder.parent, provenance),
        trained_on=str(provenance.get("dataset_sha256") or ""),
        other_films=_may_know_scored_films(folder.parent, provenance, settings, dataset_sha256)
        if entry.other_films is None
        else entry.other_films,
        about=", ".join(filter(None, (entry.about, _description(card, pretraining)))),
        is_ceiling=entry.role == "ceiling",
        labels_fraction=float(provenance.get("labels_fraction") or 0.0),
    )


def _method(card: EncoderCard) -> str:
    if card.provenance.get("labels"):
        return "supervised"
    return str(card.provenance.get("method") or card.provenance.get("objective") or "imported")


def _description(card: EncoderCard, pretraining: PretrainSettings | None) -> str:
    """Describe backbone, films, T and augmentation of an encoder."""
    provenance = card.provenance
    parts = [f"{card.encoder.model}, {card.parameters / 1e6:.1f} million parameters"]
    parts += [
        f"{key.replace('_', ' ')} {provenance[key]}"
        for key in ("objective", "steps", "films_seen")
        if key in provenance
    ]
    if provenance.get("pairs"):
        parts.append(f"pairs {provenance['pairs']}")
    if provenance.get("labels_read"):
        share = float(provenance.get("labels_fraction") or 1.0)
        parts.append(f"read labels of {share:.0%} of the patients in pretraining: {provenance['labels_read']}")
    if provenance.get("labels"):
        parts.append(f"trained with labels of all its training films: {provenance['labels']}")
    if card.encoder.film_vector not in LAST_BLOCK_POOLS:
        parts.append(f"vector {card.encoder.film_vector}, {card.vector_width} numbers")
    if provenance.get("photographs"):
        parts.append(f"started from weights of {provenance['photographs']}")
    elif provenance.get("started_from_sha256"):
        parts.append("started from the weights of another encoder, whose films and FLOPs are unknown")
    if "objective" in provenance:
        parts.append(f"T {card.preprocessing.tokens}")
    if pretraining is not None:
        view = next(iter(pretraining.objective.views().values()))
        changed = view.augmentation.model_dump(exclude_defaults=True)
        augmentation_parts = [f"{name.replace('_', ' ')} {_setting_text(value)}" for name, value in changed.items()]
        parts += [f"visible {view.visible or 1:g}", f"augmentation: {', '.join(augmentation_parts) or 'none'}"]
    return ", ".join(parts)


def _setting_text(value: object) -> str:
    return " to ".join(f"{member:g}" for member in value) if isinstance(value, tuple) else str(value)


def _may_know_scored_films(
    run: Path, provenance: Mapping[str, object], settings: CompareSettings, dataset_sha256: str
) -> bool:
    """Return whether an encoder may have been trained on the scored patients: not if its shards include these.

    Weights that were chosen by labels of val, as those of a finetuning are, know the films of ``score_on: val``.
    """
    if settings.score_on == "val" and provenance.get("labels"):
        return True
    trained_on = provenance.get("dataset_sha256")
    if trained_on == dataset_sha256 or (trained_on is None and provenance.get("photographs")):
        return False
    pretraining = read_settings(run)
    if pretraining is None:
        return True
    data = pretraining.data
    try:
        training_shards, test_shards = (
            sorted(read_dataset_card(folder).dataset_sha256 for folder in folders)
            for folders in (
                [folder for public in data.shards for folder in generation_folders(public)[: data.generations]],
                [folder for public in settings.shards for folder in generation_folders(public)],
            )
        )
    except (ShardFormatError, StorageError):  # the shards of the training were moved or deleted
        return True
    return combined(training_shards) != trained_on or not set(test_shards) <= set(training_shards)


def _table_candidate(entry: EncoderEntry) -> Candidate:
    is_ceiling = entry.role == "ceiling"
    may_know_test_films = not is_ceiling if entry.other_films is None else entry.other_films
    unknown_films = "; the films of its training are unknown" if may_know_test_films else ""
    return Candidate(
        entry.title,
        entry.method or "foreign",
        entry.group,
        tuple(entry.arms),
        table=entry.path,
        other_films=may_know_test_films,
        about=entry.about or f"{'measurements' if is_ceiling else 'vectors of another model'}{unknown_films}",
        is_ceiling=is_ceiling,
    )


def _random_candidate(run: Candidate, seed: int, settings: CompareSettings) -> Candidate:
    """Build a randomly initialised encoder with the shape, T and pooling of ``run``."""
    shape = run.shape
    assert shape is not None  # the caller selects a run with a shape
    name = RANDOM_BASELINE if len(settings.random_seeds) == 1 else f"{RANDOM_BASELINE} {seed}"
    text = json.dumps(["untrained", shape.model_dump(mode="json", exclude=shape.off), seed, torch.__version__])
    return Candidate(
        name,
        "random",
        RANDOM_BASELINE,
        seed=seed,
        encoder_sha256=hashlib.sha256(text.encode()).hexdigest(),
        shape=shape,
        vector=run.vector,
        about=f"{shape.model}, randomly initialised, without training",
    )


def _pixel_candidate(settings: CompareSettings) -> Candidate:
    about = f"{settings.pixel_components} principal components of the downscaled training films"
    return Candidate(RAW_PIXELS, "pca", RAW_PIXELS, about=about)


def _with_arms(candidates: Sequence[Candidate], settings: CompareSettings) -> list[Candidate]:
    """Derive the arms of self-supervised runs, unless a run declares an arm."""
    if any(candidate.arms for candidate in candidates):
        return list(candidates)
    methods = {candidate.method for candidate in candidates if is_self_supervised(candidate.method)}
    if len(methods) < 2:
        return list(candidates)
    budgets = [candidate.budget if candidate.method in methods else None for candidate in candidates]
    arms = infer_arms(budgets, settings.match_tolerance)
    return [replace(candidate, arms=candidate_arms) for candidate, candidate_arms in zip(candidates, arms, strict=True)]


def _with_groups(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Set the group of every candidate: runs that differ only in the seed share one."""
    group_keys = [
        candidate.group or f"{candidate.method} {candidate.arms} {_group_key(candidate)}" for candidate in candidates
    ]
    group_names: dict[str, str] = {}
    for group_key, candidate in zip(group_keys, candidates, strict=True):
        if group_key not in group_names and group_keys.count(group_key) > 1:
            name = candidate.group or _group_name(candidate)
            same_named = sum(other == name or other.startswith(f"{name} (") for other in group_names.values())
            group_names[group_key] = f"{name} ({same_named + 1})" if same_named else name
    return [
        replace(candidate, group=group_names.get(group_key, candidate.name))
        for group_key, candidate in zip(group_keys, candidates, strict=True)
    ]


def _group_key(candidate: Candidate) -> str:
    """Return what runs of one group share: settings, films, steps; a run without settings has a group of its own."""
    settings = read_settings(candidate.folder.parent) if candidate.folder else None
    if settings is None:
        return candidate.name
    films = candidate.budget.films if candidate.budget else candidate.name
    vector = candidate.vector.pool if candidate.vector else None
    return json.dumps(
        {**settings.results(), "seed": None, "films": films, "shards": candidate.trained_on, "vector": vector}
    )


def _check_groups(candidates: Sequence[Candidate], *, declared: bool) -> None:
    """Check that the runs of a group repeat one method with different seeds.

    Arms that were derived, not ``declared``, may differ: the mismatch is then reported for the pair.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.group, []).append(candidate)
    for name, members in groups.items():
        weights = [member.encoder_sha256 or str(member.table) for member in members]
        seeds = [member.seed for member in members if member.seed is not None]
        for problem, is_found in (
            ("have the same weights", len(set(weights)) < len(weights)),
            ("have the same seed", len(set(seeds)) < len(seeds)),
            ("are of several methods", len({member.method for member in members}) > 1),
            ("are in different arms", declared and len({frozenset(member.arms) for member in members}) > 1),
        ):
            if is_found:
                raise EvaluationError(
                    f"runs of the group {name} {problem}, so they do not repeat one method."
                    " Leave one out, or give them other groups under `encoders` of the config."
                )


def _group_name(candidate: Candidate) -> str:
    arms = " and ".join(arm.replace("_", "-") for arm in candidate.arms)
    return f"{candidate.method}, {arms}" if arms else candidate.method
