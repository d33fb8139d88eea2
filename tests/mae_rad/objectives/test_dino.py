"""DINO: the centre follows the teacher once a step, the last layer waits, and the teacher is exported."""

import pytest
import torch

from mae_rad.losses.distillation import dino, dino_center
from mae_rad.objectives.multi_crop import encode_crops
from mae_rad.objectives.two_views import encode_views
from tests.builders.pairs.small_methods import small_batch, small_method


@torch.no_grad()
def test_the_loss_is_that_of_student_and_teacher_over_crops() -> None:
    objective = small_method("dino").double()
    batch = small_batch(objective)
    student = torch.stack([objective.head(crop) for crop in encode_crops(objective.encoder, batch)])
    teacher = torch.stack([objective.teacher_head(view) for view in encode_views(objective.teacher, batch)])
    assert student.shape == (4, 8, 24) and teacher.shape == (2, 8, 24)
    assert student.abs().max() <= 1
    loss = objective(batch).loss
    torch.testing.assert_close(loss, dino(student, teacher, torch.zeros(24).double()), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_the_centre_moves_once_a_step_by_all_passes() -> None:
    objective = small_method("dino").double()
    objective.stepped(0.0)
    assert not objective.center.any()
    batches = [small_batch(objective, first=first) for first in (0, 8)]
    outputs = [objective.teacher_head(view) for one in batches for view in encode_views(objective.teacher, one)]
    for one in batches:
        objective(one)
    objective.eval()(batches[0])  # evaluation counts for nothing
    objective.train().stepped(0.5)
    expected = dino_center(torch.zeros(24).double(), torch.stack(outputs))
    torch.testing.assert_close(objective.center, expected, rtol=1e-12, atol=1e-12)
    objective.stepped(0.6)
    torch.testing.assert_close(objective.center, expected, rtol=1e-12, atol=1e-12)


def test_the_last_layer_is_frozen_at_first() -> None:
    objective = small_method("dino")  # for two of a hundred steps
    objective(small_batch(objective, progress=0.01)).loss.backward()
    frozen = objective.head.last.grad
    assert frozen is None and objective.head.layers[0].weight.grad.any()
    objective(small_batch(objective, progress=0.02)).loss.backward()
    assert objective.head.last.grad.any()


def test_student_and_teacher_are_exported() -> None:
    objective = small_method("dino")
    exported = objective.exports()
    assert list(exported) == ["encoder", "teacher"]
    assert exported["encoder"] is objective.encoder and exported["teacher"] is objective.teacher
    with torch.no_grad():
        objective.encoder.cls.add_(1)
        objective.stepped(0.5)  # first_momentum 0.9, in the middle of the run
    distance = (objective.encoder.cls - objective.teacher.cls).detach()
    assert distance.tolist() == pytest.approx([0.95] * 32, abs=1e-5)
