"""Pretraining as a training task: an objective is trained on views of films, and its encoder exported."""

import logging
from collections.abc import Iterator, Mapping
from typing import NoReturn

import torch

from mae_rad.data.film_order import StepRange
from mae_rad.data.loader import training_batches
from mae_rad.data.shard_checks import check_patient_splits, check_shards_complete
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.streaming import shard_openers, streamed_batches
from mae_rad.encoders.any_encoder import build_any_encoder
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_folder import descent, read_card, save_encoder, start_from
from mae_rad.export.encoder_with_decoder_folder import encoder_folder
from mae_rad.objectives.interface import ENCODER, Objective
from mae_rad.pretraining.online_probe import OnlineProbe, online_probe
from mae_rad.pretraining.rate_report import rate_report
from mae_rad.pretraining.reconstructions import HeldOutFilm, draw_pictures, held_out_films
from mae_rad.pretraining.rounds import Rounds
from mae_rad.pretraining.run_flops import flops_per_film, training_flops
from mae_rad.pretraining.run_pairs import RunPairs
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.usable_films import count_usable_films
from mae_rad.training.deepspeed_engine import Ranks, on_first_rank
from mae_rad.training.run_folder import RunFolder
from mae_rad.training.task import DrawnBatch, TrainingTask, training_films

_log = logging.getLogger(__name__)


class Pretraining(TrainingTask):
    """A pretraining.

    Args:
        settings: settings of the run.

    Raises:
        UserError: shards are missing or incomplete, share patients across splits, or have fewer training films than a
            batch.
    """

    kind = "pretrain"

    def __init__(self, settings: PretrainSettings) -> None:
        self.settings: PretrainSettings = settings
        self.name = settings.objective.name
        data, batch = settings.data, settings.optimizer.batch
        check_shards_complete(data.shards, data.generations)
        self._index = ShardIndex(data.shards, **data.source).at_scale(settings.encoder.film_scale)
        if len(data.shards) > 1:  # one folder has one split for each patient
            everything = data.source | {"where": {}}
            check_patient_splits(ShardIndex(data.shards, split=None, **everything).table)
        self.dataset_sha256, self.joined = self._index.dataset_sha256, self._index.joined
        self.data_used = training_films(data.shards, self._index)
        if len(self._index) < batch:
            raise SettingsError(
                f"optimizer.batch is larger than the number of training films: {batch} > {len(self._index)}. Lower it."
            )
        self._usable = count_usable_films(self._index.table, settings)
        self._usable.check()
        self._start_folder = encoder_folder(settings.start_from) if settings.start_from else None
        if self._start_folder:
            read_card(self._start_folder)  # a wrong folder is reported before the run folder is made
        self._pairs = RunPairs(settings, self._index)
        self._order = self._pairs.order
        self._columns = self._pairs.columns
        self._rounds: Rounds
        self._objective: Objective
        self._pictures: dict[int, list[HeldOutFilm]]
        self._probe: OnlineProbe | None
        self._start: EncoderCard | None = None

    def build_model(self, ranks: Ranks) -> Objective:
        """Build the objective with its encoder on the device of this rank."""
        settings = self.settings
        if isinstance(settings.encoder, TimmSettings) and settings.encoder.facts.has_batch_norm and ranks.world > 1:
            on_first_rank(ranks, self._refuse_ranks)
        encoders = {modality: build_any_encoder(encoder) for modality, encoder in settings.encoders.items()}
        self._objective = settings.objective.build(encoders)
        if self._start_folder:
            self._start = start_from(self._start_folder, self._objective)
        self._pictures = held_out_films(self._index, settings, self._objective)
        self._probe = online_probe(settings, announce=ranks.first)
        self._rounds = Rounds(self._objective, settings, self._index, self._columns)
        return self._objective.to(ranks.device)

    def _refuse_ranks(self) -> NoReturn:
        raise SettingsError(
            f"{self.settings.encoder.model} is trained in one process only: its batch norm does not average over"
            " ranks yet. Start it without a launcher, or give a network without it: a ViT, a ConvNeXt, resnet50_gn."
        )

    def iterate_batches(self, steps: StepRange, device: torch.device) -> Iterator[DrawnBatch]:
        """Load the views of films that the objective requests."""
        del device
        settings = self.settings
        if settings.data.read == "stream":
            return streamed_batches(
                self._index,
                shard_openers(settings.data.shards, split="train", generations=settings.data.generations),
                self._objective.views,
                steps,
                global_batch=settings.optimizer.batch,
                patch=settings.encoder.patch,
                seed=settings.seed,
                workers=settings.runtime.workers,
                scheduled_steps=settings.optimizer.scheduled_steps,
                columns=self._columns,
            )
        return training_batches(
            self._index,
            self._order,
            self._objective.views,
            steps,
            patch=settings.encoder.patch,
            workers=settings.runtime.workers,
            scheduled_steps=settings.optimizer.scheduled_steps,
            columns=self._columns,
        )

    def training_flops(self, step: int) -> float:
        """FLOPs of a film, forward and backward, at the T of the step."""
        return flops_per_film(self.settings.at(step)).training

    def begin_step(self, step: int, folder: RunFolder, ranks: Ranks) -> None:
        """Begin a round of the objective, if one is due."""
        self._rounds.begin(step, folder, ranks)

    def begin(self, done: int, folder: RunFolder, ranks: Ranks) -> Mapping[str, float]:
        """Report the peak learning rate, and log the online probe of the initial weights."""
        rates = rate_report(self.settings)
        if ranks.first and not done:
            self._pairs.announce()
        if ranks.first and not done and (self._usable.skipped or self.settings.encoder.film_scale.is_fixed):
            _log.info("films: %s", self._usable)
        if ranks.first and rates.is_outside:
            _log.warning("%s", rates.text)
        elif ranks.first and not done:
            _log.info("%s", rates.text)
        if ranks.first and done and self.settings.data.read == "stream":
            _log.warning("data.read: stream: the order of films is not that of a run without interruption")
        return self._log_probe(done, folder, ranks) if not done else self.evaluate(done, folder, ranks)

    def evaluates(self, done: int) -> bool:
        """Whether a probe or pictures are due."""
        runtime = self.settings.runtime
        due = done in self.settings.optimizer.segment_ends or done % runtime.picture_every == 0
        return due or bool(self._probe and done % runtime.probe_every == 0)

    def evaluate(self, done: int, folder: RunFolder, ranks: Ranks) -> Mapping[str, float]:
        """Log the online probe and draw reconstructions, at their intervals and at the end of a segment."""
        is_last = done in self.settings.optimizer.segment_ends
        is_probed = self._probe and (done % self.settings.runtime.probe_every == 0 or is_last)
        values = self._log_probe(done, folder, ranks) if is_probed else {}
        if self._pictures and (done % self.settings.runtime.picture_every == 0 or is_last):
            picture = draw_pictures(self._pictures, self._objective, self.settings, ranks.device, done - 1)
            if ranks.first:
                folder.write_picture(done, picture)
        return values

    def _log_probe(self, done: int, folder: RunFolder, ranks: Ranks) -> dict[str, float]:
        """Log the online probe; a collective call. Its metrics on rank 0, else none."""
        values = self._probe.read(self._objective.encoder, ranks.device, self.settings.precision) if self._probe else {}
        if not (ranks.first and values):
            return {}
        folder.log(done, values)
        return values

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of the weights it starts from, and of the columns that it reads."""
        start = {"start_from": read_card(self._start_folder).weights_sha256} if self._start_folder else {}
        return start | self._pairs.checksums

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run in the tracking store, with the peak learning rate and the range in which it was tried."""
        rates = rate_report(self.settings)
        tried = (
            {"tried_learning_rates": f"{rates.range.lowest:.2g} to {rates.range.highest:.2g}"} if rates.range else {}
        )
        return super().tags | {"peak_learning_rate": f"{rates.peak:.3g}"} | tried

    def provenance(self) -> dict[str, str | int | float | None]:
        """Return the provenance of the weights, with the peak learning rate."""
        return super().provenance() | self._pairs.provenance | {"peak_learning_rate": rate_report(self.settings).peak}

    def conclusion(self, folder: RunFolder) -> str:
        """Where the encoder is, and how to embed, compare, finetune and extend."""
        run, steps, paths = folder.path, self.settings.optimizer.steps, list(map(str, self.settings.data.shards))
        shards = paths[0] if len(paths) == 1 else f"'[{','.join(paths)}]'"
        return "\n".join(
            (
                f"encoder: {folder.encoder}",
                "next:",
                f"  mae-rad embed {run} shards={shards} out=embeddings.parquet",
                f"  mae-rad compare {run} shards={shards} out=compare",
                f"  mae-rad finetune --config NAME data.shards={shards} start_from={run} runtime.run_dir=HEAD",
                f"  the same command with optimizer.steps={2 * steps} extends the run by {steps:,} steps",
            )
        )

    def finish(self, folder: RunFolder, ranks: Ranks) -> None:
        """Export the encoder, and further ones of the objective."""
        if not ranks.first:
            return
        for name, encoder in self._objective.exports().items():
            save_encoder(
                encoder,
                self.settings.encoder,
                folder.encoder if name == ENCODER else folder.encoders / name,
                tokens=self.settings.objective.tokens,
                precision=self.settings.precision,
                provenance=self.provenance() | descent(self._start) | {"training_flops": training_flops(self.settings)},
                objective=self._objective if name == ENCODER else None,
            )
