"""The monitor warns of a method that is made to collapse, and is silent about the method as it is."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mae_rad.data.batch import Batch, Patches, View
from mae_rad.encoders.vit import build_encoder
from mae_rad.losses.distillation import negative_cosine
from mae_rad.objectives import FILM, Objective, objective_settings
from mae_rad.objectives.interface import ObjectiveOutput
from mae_rad.objectives.projection_head import projection_head
from mae_rad.objectives.simsiam import SimSiam
from mae_rad.objectives.two_views import encode_views, view_metrics
from mae_rad.training.collapse_monitor import CollapseMonitor
from tests.builders.pairs.small_methods import ENCODER, HEAD, small_batch

WARMUP, STEPS = 5, 60


class Collapsing(SimSiam):
    """SimSiam without stopped gradient, predictor and batch norm."""

    def forward(self, batch: Batch) -> ObjectiveOutput:
        pooled = encode_views(self.encoder, batch)
        z0, z1 = (self.projector(features) for features in pooled)
        return ObjectiveOutput(negative_cosine(z0, z1), view_metrics(pooled, (z0, z1)))


def simsiam(*, collapsing: bool) -> Objective:
    torch.manual_seed(0)
    settings = objective_settings({"name": "simsiam", "tokens": 16, "predictor_hidden": 8} | HEAD)
    objective = settings.build({FILM: build_encoder(ENCODER)})
    if collapsing:
        objective.__class__ = Collapsing
        objective.projector = projection_head(32, HEAD["head_hidden"], HEAD["head_dim"], "layer")
        objective.predictor = nn.Identity()
    return objective


def with_other_films(batch: Batch) -> Batch:
    """The second views show other films: there is nothing to agree on but one vector for all."""

    def moved(values: Tensor) -> Tensor:
        return values.roll(5, dims=0)

    second = batch.views["b"].visible
    return replace(batch, views=batch.views | {"b": View(Patches(*map(moved, second.parts)))})


def warnings_of(objective: Objective, caplog: pytest.LogCaptureFixture) -> str:
    monitor = CollapseMonitor(WARMUP)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    batches = [with_other_films(small_batch(objective, 16, seed=seed)) for seed in range(4)]
    with caplog.at_level(logging.WARNING):
        for step in range(STEPS):
            output = objective(batches[step % len(batches)])
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()
            monitor.check(step + 1, {name: value.item() for name, value in output.metrics.items()})
    return caplog.text


def test_a_collapse_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    said = warnings_of(simsiam(collapsing=True), caplog)
    assert "projection_std is 0.0" in said and "the projection head has collapsed" in said


def test_the_published_method_does_not_collapse(caplog: pytest.LogCaptureFixture) -> None:
    assert "collapsed" not in warnings_of(simsiam(collapsing=False), caplog)
