"""Finetuning as a training task: trains a head on labelled films, evaluates it, and exports a predictor."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save

from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.progress import Progress
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.rare_values import MIN_PATIENTS
from data_prep.sharding.single_film import PreparationSettings
from mae_rad.data.augmentation import Augmentation
from mae_rad.data.batch import Patches
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.shard_checks import check_shards_complete
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.errors import RunError
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_folder import descent, portable, read_card, save_encoder, start_encoder
from mae_rad.export.encoder_with_decoder_folder import encoder_folder
from mae_rad.export.predictor_card import Scope
from mae_rad.export.predictor_folder import build_model, save_predictor
from mae_rad.finetuning.patient_splits import rows_by_split
from mae_rad.finetuning.registry import build_task
from mae_rad.finetuning.report.report_page import PAGE, write_page
from mae_rad.finetuning.task.cached_features import FeatureCache, cache_bytes, cached_batches, group_by_tokens, to_cache
from mae_rad.finetuning.task.early_stopping import as_score, is_out_of_patience
from mae_rad.finetuning.task.interface import FilmOutputs
from mae_rad.finetuning.task.labelled_films import Group, TakeLabelled, labelled_batches, on_device
from mae_rad.finetuning.task.settings import FinetuneSettings, with_encoder
from mae_rad.finetuning.task.supervised_model import Supervised
from mae_rad.finetuning.task.target_checksums import target_checksums
from mae_rad.prediction.mlflow_predictor import registered_predictor
from mae_rad.tracking import RegisteredModel
from mae_rad.training.deepspeed_engine import Ranks, gather_over_ranks, on_first_rank
from mae_rad.training.loop import train
from mae_rad.training.run_folder import RunFolder, continue_segments
from mae_rad.training.task import DrawnBatch, TrainingTask, training_films


def finetune(settings: FinetuneSettings) -> str | None:
    """Run, resume or extend a finetuning, and write the predictor into its run folder.

    Returns:
        As :func:`train`.

    Raises:
        SystemExit, UserError: as :func:`train`.
    """
    return train(Finetuning(continue_segments(settings)))


class Finetuning(TrainingTask):
    """The training task of one finetuning run.

    Args:
        settings: of the run.

    Raises:
        UserError: shards, labels or the encoder of ``start_from`` are missing, or do not match.
    """

    kind = "finetune"

    def __init__(self, settings: FinetuneSettings) -> None:
        self._start = encoder_folder(settings.start_from) if settings.start_from else None
        card = read_card(self._start) if self._start else None
        self.settings: FinetuneSettings = with_encoder(settings, card)
        self.encoder = self.settings.backbone
        self.name = settings.task.name
        data = settings.data
        check_shards_complete(data.shards, data.generations)
        self._films = ShardIndex(data.shards, split=None, **data.source).at_scale(self.encoder.film_scale)
        self.dataset_sha256, self.joined = self._films.dataset_sha256, self._films.joined
        self._task = build_task(self.settings, self._films)
        self.settings = self._task.settings
        self._rows = rows_by_split(self.settings, self._task)
        if not settings.runtime.test_films:
            self._rows["test"] = self._rows["test"][:0]
        self._truth = target_checksums(
            self._films, data.shards, self._label_names, with_boxes=settings.task.name == "detection"
        )
        self._start_sha256 = card.weights_sha256 if card else None
        self._train = self._films.subset(self._rows["train"])
        self.data_used = training_films(data.shards, self._train)
        weights, frequencies = self._train.weights(data.weights), self._task.frequencies(self._rows["train"])
        if frequencies is not None:
            weights = frequencies if weights is None else weights * frequencies
        self._order = Order(len(self._train), settings.seed, settings.optimizer.batch, weights)
        self._target = self._task.target(self._rows["train"])
        self._model: Supervised
        self._cached: FeatureCache = {}
        self._start_card: EncoderCard | None = None
        self._micro = 1
        self._done = 0
        self._scores: dict[int, float] = {}

    def build_model(self, ranks: Ranks) -> Supervised:
        """Build encoder and head."""
        encoder, head = build_model(self.encoder, self.settings.task)
        if self._start:
            self._start_card = start_encoder(self._start, encoder)
        self._model = Supervised(encoder, head, self.settings.adaptation).to(ranks.device)
        return self._model

    def iterate_batches(self, steps: StepRange, device: torch.device) -> Iterator[DrawnBatch]:
        """Draw labelled films, or their cached features where the encoder is frozen."""
        settings, self._micro = self.settings, steps.micro
        if self._may_cache():
            self._cached = self._encode_films(steps, device)
            rows, task = self._rows["train"], self._task
            return cached_batches(self._cached, self._train, rows, self._target, task.stack, self._order, steps)
        take = TakeLabelled(
            self._train,
            self._target,
            self._task.cut(),
            settings.film.augmentation,
            settings.tokens,
            self.encoder.patch,
            settings.seed,
            settings.film.scale,
        )
        return labelled_batches(take, self._task.stack, self._order, steps, workers=settings.runtime.workers)

    def training_flops(self, step: int) -> float:
        """Not known: the number of patches differs between films."""
        del step
        return float("nan")

    def evaluates(self, done: int) -> bool:
        """Whether a validation is due."""
        return done % self.settings.evaluation.every == 0 or done in self.settings.optimizer.segment_ends

    def begin(self, done: int, folder: RunFolder, ranks: Ranks) -> Mapping[str, float]:
        """Read the scores of the earlier validations, for early stopping; then as every task."""
        if self.settings.early_stopping and ranks.first:
            logged = {f"{step} {name}": value for step, line in folder.logged() for name, value in line.items()}
            name = f"val/{self.settings.early_stopping.metric}"
            earlier = [step for step in range(1, done) if self.evaluates(step)]
            self._scores = {step: as_score(name, logged.get(f"{step} {name}", math.nan)) for step in earlier}
        return super().begin(done, folder, ranks)

    def evaluate(self, done: int, folder: RunFolder, ranks: Ranks) -> None:
        """Validate on the val films, keep the best weights so far, and stop early if the settings say so."""
        self._done = done
        if not self.evaluates(done):
            return
        val, stopping = self._outputs("val", ranks), self.settings.early_stopping
        if ranks.first:
            values = self._task.validate(val)
            folder.log(done, {f"val/{name}": value for name, value in values.items()})
            if stopping:
                self._scores[done] = as_score(stopping.metric, values.get(stopping.metric, math.nan))
            self._keep_if_best(folder, done, self._scores[done] if stopping else self._task.selection_score(values))
        if stopping:
            self.is_complete = on_first_rank(ranks, lambda: is_out_of_patience(self._scores.values(), stopping))

    def finish(self, folder: RunFolder, ranks: Ranks) -> None:
        """Evaluate the best weights on val and test, and write the predictor."""
        step = on_first_rank(ranks, lambda: _best_step_and_score(folder)[0])
        self._model.load_state_dict(load_file(folder.best), strict=False)
        val = self._outputs("val", ranks, precise=True)
        test = self._outputs("test", ranks, precise=True) if len(self._rows["test"]) else None
        if not ranks.first:
            return
        folder.evaluation.mkdir(exist_ok=True)
        final = self._task.evaluate_final(val, test, folder.evaluation)
        folder.log(self._done, {f"test/{name}": value for name, value in final.values.items()})
        card = {
            "encoder": self.encoder,
            "tokens": self.settings.tokens,
            "task": self.settings.task,
            "calibration": final.calibration,
            "operating_points": final.operating_points,
            "measured": final.measured,
            "chance_warnings": final.chance_warnings,
            "scope": Scope(
                body_parts=self._counts("body_part"),
                views=self._counts("view"),
                answers=self._task.training_answers(self._rows["train"]),
            ),
            "film": self._preparation(),
            "provenance": self.provenance() | self._films_used() | self._end() | {"best_step": step},
        }
        save_predictor(self._model.encoder, self._model.head, folder.predictor, card)
        self._save_encoder(folder, step)
        write_page(folder.path)

    def result(self, folder: RunFolder) -> RegisteredModel | None:
        """Return the predictor, for the model registry; None while its test films are left out."""
        if not self.settings.runtime.test_films:
            return None
        return registered_predictor(folder.predictor, self.settings.runtime.run_dir.name, folder.tracking_id())

    def conclusion(self, folder: RunFolder) -> str:
        """Where predictor and test metrics are, and how to predict."""
        return (
            f"predictor: {folder.predictor}\nreport: {folder.evaluation / PAGE}\n"
            f"next:\n  mae-rad predict {folder.path} FILES out=PRIVATE      findings of film files"
        )

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of the labels and boxes of the task, and of the weights it starts from."""
        return self._truth | ({"start_from": self._start_sha256} if self._start_sha256 else {})

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run, with the encoder it starts from."""
        start = self.settings.start_from
        return super().tags | {"start_from": start.name if start else "scratch"}

    def provenance(self) -> dict[str, str | int | float | None]:
        """Provenance of the run, with its first encoder, its labels with their checksum and the size of its windows."""
        truth = {f"{kind}_sha256": sha256 for kind, sha256 in self._truth.items()}
        window = self.settings.task.window
        windows = {"window": window} if window else {}
        return super().provenance() | descent(self._start_card, self._label_names) | truth | windows

    @property
    def _label_names(self) -> list[str]:
        return [name for target in self.settings.task.targets for name in target.label_names]

    def _save_encoder(self, folder: RunFolder, step: int) -> None:
        """Export the finetuned encoder, so that another run can start from it."""
        encoder, settings = self._model.encoder, self.encoder
        if self.settings.adaptation.encoder == "finetuned":
            tokens, films_seen = self.settings.tokens, step * self.settings.optimizer.batch
            provenance = self.provenance() | self._films_used() | {"steps": step, "films_seen": films_seen}
            save_encoder(
                encoder,
                settings,
                folder.encoder,
                tokens=tokens,
                precision=self.settings.precision,
                provenance=provenance,
            )

    @torch.no_grad()
    def _outputs(self, split: str, ranks: Ranks, *, precise: bool = False) -> FilmOutputs:
        """Compute the outputs of the head for a split, divided over the ranks and gathered on all of them."""
        rows, outputs = self._rows[split], dict[int, Any]()
        rank_rows = rows[ranks.rank :: ranks.world]
        with _evaluation_mode(self._model, ranks.device, autocast=self.settings.precision == "bf16" and not precise):
            for films, group in self._groups(rank_rows, cached=not precise):
                (group_outputs,) = self._model.outputs([on_device(group, ranks.device)])
                outputs |= dict(zip(films, self._task.split_by_film(group_outputs), strict=True))
        all_outputs = {row: output for part in gather_over_ranks(outputs) for row, output in part.items()}
        return FilmOutputs(rows, [all_outputs[row] for row in rows.tolist()])

    def _groups(self, rows: NDArray[np.int64], *, cached: bool) -> Iterator[tuple[list[int], Group]]:
        """Groups of films with equal grids: their rows, and their patches or cached features."""
        if not (cached and self._cached):
            yield from self._patch_groups(rows)
            return
        for start in range(0, len(rows), self._micro):
            part = rows[start : start + self._micro].tolist()
            for positions, features in group_by_tokens(self._cached, part):
                yield [part[position] for position in positions], features

    def _patch_groups(self, rows: NDArray[np.int64]) -> Iterator[tuple[list[int], Patches]]:
        if not len(rows):
            return
        batches = whole_film_batches(
            self._films.subset(rows),
            tokens=self.settings.tokens,
            patch=self.encoder.patch,
            batch=self._micro,
            workers=self.settings.runtime.workers,
        )
        for positions, patches in batches:
            yield rows[positions].tolist(), patches

    def _may_cache(self) -> bool:
        settings, films = self.settings, len(self._rows["train"]) + len(self._rows["val"])
        without_augmentation = settings.film.augmentation == Augmentation() and settings.film.scale == 0
        needed = cache_bytes(films, self._model.head, dim=self._model.encoder.dim, tokens=settings.tokens)
        return self._model.frozen and without_augmentation and needed <= settings.runtime.cache_gib * 2**30

    @torch.no_grad()
    def _encode_films(self, steps: StepRange, device: torch.device) -> FeatureCache:
        """Encode the films of train and val, divided over the ranks and gathered on all of them."""
        model, cache = self._model, FeatureCache()
        films = sum(len(self._rows[split]) for split in ("train", "val"))
        progress = Progress("encode", "films", films) if steps.rank == 0 else None
        with _evaluation_mode(model, device, autocast=self.settings.precision == "bf16"):
            for split in ("train", "val"):
                for rows, patches in self._patch_groups(self._rows[split][steps.rank :: steps.world]):
                    features = model.head.encode(model.encoder, patches.to(device))
                    cache |= to_cache(rows, features, summary=model.head.input_kind == "summary")
                    if progress:
                        progress.add(len(rows) * steps.world)
        if progress:
            progress.close()
        return {row: film for part in gather_over_ranks(cache) for row, film in part.items()}

    def _keep_if_best(self, folder: RunFolder, step: int, value: float) -> None:
        if math.isnan(value) or (folder.best.exists() and value <= _best_step_and_score(folder)[1]):
            return
        trained = {
            name: weight
            for name, weight in self._model.state_dict().items()
            if not (self._model.frozen and name.startswith("encoder."))
        }
        with atomic_file(folder.best) as file:
            file.write(save(portable(trained), {"step": str(step), "value": repr(value)}))

    def _end(self) -> dict[str, str | int]:
        """How long the training was where it ended early."""
        stopping, done = self.settings.early_stopping, self._done
        if not (stopping and self.is_complete and done < self.settings.optimizer.steps):
            return {}
        films = done * self.settings.optimizer.batch
        return {"steps": done, "films_seen": films, "stopped_early": stopping.text}

    def _counts(self, column: str) -> dict[str, int]:
        """Value → number of training films; 0 stands for the films of a value that few patients have."""
        known = self._train.table.filter(pc.is_valid(self._train.table.column(column)))
        counted = known.group_by(column).aggregate([("patient", "count"), ("patient", "count_distinct")]).to_pydict()
        counts = zip(counted[column], counted["patient_count"], counted["patient_count_distinct"], strict=True)
        return {value: films if patients >= MIN_PATIENTS else 0 for value, films, patients in counts}

    def _preparation(self) -> PreparationSettings:
        """Preparation settings of the shards with the largest films."""
        preparations = [
            PreparationSettings.of(read_dataset_card(folder).config) for folder in self.settings.data.shards
        ]
        return max(preparations, key=lambda entry: math.inf if entry.max_side == "native" else entry.max_side)

    def _films_used(self) -> dict[str, int]:
        patients = self._films.table.column("patient")
        return {
            f"{split}_{what}": count
            for split, rows in self._rows.items()
            for what, count in (("films", len(rows)), ("patients", _distinct(patients.take(rows))))
        }


def _distinct(column: Any) -> int:
    return int(pc.count_distinct(column).as_py())


def _best_step_and_score(folder: RunFolder) -> tuple[int, float]:
    """Step and selection score of the best weights so far."""
    if not folder.best.exists():
        raise RunError(
            "no validation had a score to choose weights by. Val films must include two classes, or different numbers"
        )
    with safe_open(folder.best, "pt") as file:
        metadata = file.metadata()
    return int(metadata["step"]), float(metadata["value"])


@contextmanager
def _evaluation_mode(model: Supervised, device: torch.device, *, autocast: bool) -> Iterator[None]:
    model.eval()
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        yield
    model.train()
