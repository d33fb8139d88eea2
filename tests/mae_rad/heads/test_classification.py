"""The classification head: loss by hand, independent of the division of a batch."""

import math

import pytest
import torch
from pydantic import ValidationError
from torchmetrics.functional.classification import binary_auroc

from mae_rad.encoders.vit import EncoderSettings, Features, build_encoder
from mae_rad.finetuning.task.settings import AdaptationSettings
from mae_rad.finetuning.task.supervised_model import Supervised
from mae_rad.heads.classification import (
    ClassificationHead,
    ClassificationSettings,
    LabelTargets,
    masked_cross_entropy,
)
from mae_rad.heads.interface import Calibration

ENCODER = build_encoder(EncoderSettings(dim=16, depth=3, heads=2))


def _head(**settings: object) -> ClassificationHead:
    torch.manual_seed(0)
    task = ClassificationSettings.model_validate({"labels": [{"label": "a"}, {"label": "b"}]} | settings)
    return ClassificationHead(task, ENCODER)


def _features(films: int, patches: int = 5, seed: int = 0) -> Features:
    tokens = torch.randn(films, patches, 16, generator=torch.Generator().manual_seed(seed))
    return Features(tokens, tokens.mean(dim=1), tokens[:, 0])


def test_the_loss_with_masks_is_that_of_a_hand_computation() -> None:
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.0]], dtype=torch.float64)
    targets = LabelTargets(torch.tensor([[1.0, 0.0], [0.25, 0.0]]).double(), torch.tensor([[1.0, 0.5], [2.0, 0.0]]))

    def cost(logit: float, value: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -value * math.log(p) - (1 - value) * math.log(1 - p)

    expected = (1.0 * cost(0.5, 1) + 0.5 * cost(-1.0, 0) + 2.0 * cost(2.0, 0.25) + 0) / 2
    assert float(masked_cross_entropy(logits, targets)) == pytest.approx(expected, rel=1e-12)


def test_unknown_labels_have_no_gradient() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    masked_cross_entropy(logits, LabelTargets(torch.zeros(3, 2), weights)).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, weights != 0)


@pytest.mark.parametrize("pool", ["cls", "mean", "cls_mean", "attentive", "max_score"])
@pytest.mark.parametrize("hidden", [0, 8])
def test_the_loss_is_the_mean_of_any_parts_of_a_batch(pool: str, hidden: int) -> None:
    head, features = _head(pool=pool, hidden=hidden), _features(6)
    targets = LabelTargets(torch.rand(6, 2), torch.rand(6, 2))
    whole = head.loss([head(features)], targets).loss
    grids = [Features(*(part[start:end] for part in features)) for start, end in ((0, 1), (1, 6))]
    assert torch.allclose(head.loss([head(grid) for grid in grids], targets).loss, whole)
    halves = [
        head.loss([head(Features(*(part[rows] for part in features)))], LabelTargets(*(t[rows] for t in targets))).loss
        for rows in (slice(0, 3), slice(3, 6))
    ]
    assert torch.allclose(sum(halves) / 2, whole)  # type: ignore[arg-type]


@pytest.mark.parametrize("pool", ["cls", "mean", "cls_mean"])
def test_a_summary_gives_the_fixed_pooling_of_the_tokens(pool: str) -> None:
    head, features = _head(pool=pool), _features(4)
    summary = features._replace(tokens=features.tokens.mean(dim=1, keepdim=True))
    assert head.input_kind == "summary"
    assert torch.allclose(head(features), head(summary), atol=1e-6)
    assert _head(pool="attentive").input_kind == _head(pool="max_score").input_kind == "tokens"


@pytest.mark.parametrize("hidden", [0, 8])
def test_the_highest_score_of_a_patch_is_that_of_the_film_label_by_label(hidden: int) -> None:
    head, features = _head(pool="max_score", hidden=hidden), _features(3)
    alone = [head(Features(features.tokens[:, place : place + 1], features.pooled, features.cls)) for place in range(5)]
    assert torch.allclose(head(features), torch.stack(alone).amax(dim=0), atol=1e-6)
    assert torch.allclose(head.patch_logits(features), torch.stack(alone, dim=1), atol=1e-6)


def test_max_score_finds_a_finding_of_one_patch() -> None:
    """Trained on labels of films alone, tested on other films; with one of two initial weights it may not learn."""
    generator = torch.Generator().manual_seed(0)
    present = torch.arange(512) % 2 == 0
    tokens = torch.randn(512, 100, 16, generator=generator)
    tokens[present, 17] = 4 * torch.eye(16)[3]
    training, test = (Features(part, part.mean(dim=1), part[:, 0]) for part in tokens.split(256))
    values = present[:256, None].float().expand(-1, 2)
    targets, head = LabelTargets(values, torch.ones_like(values)), _head(pool="max_score")
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.03)
    for _ in range(100):
        optimizer.zero_grad()
        head.loss([head(training)], targets).loss.backward()
        optimizer.step()
    scores = head(test).detach()
    assert max(float(binary_auroc(of_label, present[256:].long())) for of_label in scores.T) > 0.95


def test_settings_without_effect_and_unknown_poolings_are_refused() -> None:
    with pytest.raises(ValidationError, match="Leave them out with pool: max_score"):
        _head(pool="max_score", pool_heads=2)
    with pytest.raises(ValidationError, match="'cls', 'mean', 'cls_mean', 'attentive' or 'max_score'"):
        _head(pool="max")


def test_probabilities_are_calibrated() -> None:
    head, features = _head(), _features(3)
    logits = head(features)
    assert torch.equal(head.answer(logits).probabilities, torch.sigmoid(logits))  # type: ignore[arg-type]
    head.calibrate([Calibration(2.0, -1.0), Calibration(0.5, 0.25)])
    calibrated = head.answer(logits).probabilities
    expected = torch.stack([torch.sigmoid(2 * logits[:, 0] - 1), torch.sigmoid(logits[:, 1] / 2 + 0.25)], dim=1)
    assert torch.allclose(calibrated, expected)  # type: ignore[arg-type]
    assert not {"slope", "offset"} & set(head.state_dict())


def _published_layer(name: str, depth: int) -> int:
    """Layer of a parameter in the finetuning of the published masked autoencoder, as its paper counts them."""
    if name.startswith(("encoder.cls", "encoder.embedding")):
        return 0
    if name.startswith("encoder.blocks."):
        return int(name.split(".")[2]) + 1
    return depth + 1


def test_layers_learn_at_the_published_rates() -> None:
    model = Supervised(ENCODER, _head(), AdaptationSettings(layer_decay=0.6))
    for name, _ in model.named_parameters():
        assert model.rate_of(name) == pytest.approx(0.6 ** (4 - _published_layer(name, 3))), name
    assert model.rate_of("head.layers.1.weight") == 1


def test_a_frozen_encoder_has_no_gradient() -> None:
    model = Supervised(ENCODER, _head(), AdaptationSettings(encoder="frozen"))
    assert not any(weight.requires_grad for weight in model.encoder.parameters())
    assert all(weight.requires_grad for weight in model.head.parameters())


def test_labels_need_different_names() -> None:
    with pytest.raises(ValidationError, match="two labels are called a"):
        _head(labels=[{"label": "a"}, {"label": "a", "where": {"body_part": "HAND"}}])
    task = ClassificationSettings.model_validate(
        {"labels": [{"label": ["a", "b"]}, {"label": "a", "name": "a of a hand", "where": {"body_part": "HAND"}}]}
    )
    assert task.titles == ("a or b", "a of a hand")
