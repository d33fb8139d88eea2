"""Rounds of a pretraining: at the start of each, the objective makes centres or neighbours from vectors of all films.

rounds/round-00003.safetensors   what the objective made, with the identity of the run, round, step, and the checksum of
                                 the encoders that the vectors are of

A run that is resumed within a round reads what was made for it; a file that does not fit is made again, and the log
says so. The files are kept from the round of the oldest checkpoint on, from which a run may be resumed.
"""

import hashlib
import json
import logging
from collections.abc import MutableMapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from data_prep.runtime.atomic_write import atomic_file
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding.film_vector import film_vectors, vector_width
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.objectives.interface import Objective
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import Ranks, gather_over_ranks, on_first_rank
from mae_rad.training.run_folder import RunFolder

COLUMN = "round."
"""Beginning of the names of columns that an objective makes."""
_FILMS_PER_BATCH = 32

_log = logging.getLogger(__name__)


class Rounds:
    """Begins the rounds of a run.

    Args:
        objective: with ``renew_every`` above 0, else nothing is done.
        settings: settings of the run.
        index: training films.
        columns: of the batches; those that the objective makes are added.
    """

    def __init__(
        self,
        objective: Objective,
        settings: PretrainSettings,
        index: ShardIndex,
        columns: MutableMapping[str, Tensor],
    ) -> None:
        self._objective, self._settings, self._index, self._columns = objective, settings, index, columns
        self._round: int | None = None

    def begin(self, step: int, folder: RunFolder, ranks: Ranks) -> None:
        """Begin the round of an optimiser step, if it is not that of the step before; a collective call.

        Args:
            step: optimiser step, counted from 0.
            folder: run folder.
            ranks: rank of this process and number of ranks.
        """
        every, start = self._objective.renew_every, self._objective.renew_from
        if not every or step < start or (number := (step - start) // every) == self._round:
            return
        first_step = start + number * every
        path = folder.rounds / f"round-{number:05d}.safetensors"

        def facts(weights: bool) -> dict[str, str]:
            known = {"identity": _identity(folder.path / "run.json"), "round": str(number), "step": str(first_step)}
            return known | ({"encoders": self._checksum()} if weights else {})

        # within a round the weights are no longer those of its start
        made = on_first_rank(ranks, lambda: _read(path, facts(step == first_step)))
        if made is None:
            if ranks.first and step != first_step:
                _log.warning("round %d is made again at step %d: its file is missing or does not fit", number, step)
            vectors = {name: self._vectors(encoder, ranks) for name, encoder in self._objective.renews().items()}
            made = on_first_rank(ranks, lambda: self._make(vectors, number, path, facts(weights=True)))
            if ranks.first:
                self._delete_old(number, folder)
        self._take(made)
        self._round = number

    def _make(self, vectors: dict[str, Tensor], number: int, path: Path, facts: dict[str, str]) -> dict[str, Tensor]:
        made = self._objective.renew(vectors, generator_for("round", self._settings.seed, number))
        made = {name: values.detach().cpu().contiguous() for name, values in made.items()}
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as file:
            file.write(save(made, metadata=facts))
        return made

    def _delete_old(self, number: int, folder: RunFolder) -> None:
        """Delete the files of rounds before this one that no checkpoint goes on with."""
        steps = (path.name.removeprefix("step-") for path in folder.checkpoints.glob("step-*"))
        oldest = min((int(step) for step in steps if step.isdigit()), default=None)
        if oldest is not None:
            number = min(number, (oldest - self._objective.renew_from) // self._objective.renew_every)
        for path in folder.rounds.glob("round-*.safetensors"):
            digits = path.stem.removeprefix("round-")
            if digits.isdigit() and int(digits) < number:
                path.unlink(missing_ok=True)

    def _take(self, made: dict[str, Tensor]) -> None:
        buffers = dict(self._objective.named_buffers())
        with torch.no_grad():
            for name, values in made.items():
                if name in buffers:
                    buffers[name].copy_(values)
                else:
                    self._columns[COLUMN + name] = values

    def _vectors(self, encoder: Encoder, ranks: Ranks) -> Tensor:
        """Vectors [films, D] of all training films on all ranks; each rank embeds its part."""
        rows = np.arange(ranks.rank, len(self._index), ranks.world)
        was_training = encoder.training
        encoder.eval()
        vectors = torch.empty(len(self._index), vector_width(encoder))
        batches = whole_film_batches(
            self._index,
            tokens=self._settings.objective.tokens,
            patch=self._settings.encoder.patch,
            batch=_FILMS_PER_BATCH,
            workers=self._settings.runtime.workers,
            rows=rows,
        )
        for batch_rows, patches in batches:
            found = film_vectors(encoder, patches.to(ranks.device), precision=self._settings.precision)
            vectors[batch_rows] = found.float().cpu()
        encoder.train(was_training)
        for rank, part in enumerate(gather_over_ranks(vectors[rows])):
            vectors[rank :: ranks.world] = part
        return vectors

    def _checksum(self) -> str:
        digest = hashlib.sha256()
        for name, encoder in sorted(self._objective.renews().items()):
            digest.update(name.encode())
            for values in encoder.state_dict().values():
                digest.update(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def _identity(run_json: Path) -> str:
    """Checksum of what a resumed run must share, which ``run_json`` records."""
    recorded = json.loads(run_json.read_text(encoding="utf-8"))
    for name in ("steps", "segments"):  # a run may be extended
        recorded["settings"]["optimizer"].pop(name, None)
    return hashlib.sha256(json.dumps(recorded, sort_keys=True).encode()).hexdigest()


def _read(path: Path, facts: dict[str, str]) -> dict[str, Tensor] | None:
    """What was made for a round; None if the file is missing, damaged or of another run, round or encoder."""
    try:
        with safe_open(path, framework="pt") as file:
            recorded = file.metadata() or {}
            if any(recorded.get(name) != value for name, value in facts.items()):
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError):
        return None
