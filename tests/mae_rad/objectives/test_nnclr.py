"""NNCLR: neighbours come from a memory that is filled once a step, in the order of positions and views."""

import pytest
import torch
from pydantic import ValidationError

from mae_rad.data.batch import Members
from mae_rad.objectives import objective_settings
from mae_rad.objectives.vector_memory import VectorMemory
from tests.builders.pairs.small_methods import small_batch, small_method


def members(position: list[int], view: list[int]) -> Members:
    there = torch.tensor(position)
    return Members(there, torch.tensor(view), there, there, there)


def directions(*angles: float) -> torch.Tensor:
    radians = torch.tensor(angles, dtype=torch.float32)
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def angles(memory: VectorMemory) -> list[float]:
    return torch.atan2(memory.vectors[:, 1], memory.vectors[:, 0]).tolist()


def test_a_step_replaces_the_oldest_in_the_order_of_position_and_view() -> None:
    memory = VectorMemory(4, 2)
    first = memory.vectors.clone()
    memory.store()  # before the first step nothing is there
    assert torch.equal(memory.vectors, first) and not memory.is_full
    memory.collect(3 * directions(0.3, 0.1), members([1, 0], [1, 1]))  # two forward passes of one step
    memory.collect(directions(0.0), members([0], [0]))
    memory.store()
    assert angles(memory)[:3] == pytest.approx([0.0, 0.1, 0.3])
    assert torch.equal(memory.vectors[3], first[3]) and not memory.is_full
    memory.collect(directions(0.5, 0.4), members([3, 2], [0, 0]))
    memory.store()
    assert angles(memory) == pytest.approx([0.5, 0.1, 0.3, 0.4])
    assert memory.is_full and memory.stored == 5
    memory.collect(directions(0.6, 0.7, 0.8, 0.9, 1.0), members([4, 5, 6, 7, 8], [0] * 5))  # more than it holds
    memory.store()
    assert sorted(angles(memory)) == pytest.approx([0.7, 0.8, 0.9, 1.0])


def test_evaluation_fills_nothing() -> None:
    objective = small_method("nnclr").eval()
    objective(small_batch(objective))
    objective.stepped(0.5)
    assert objective.memory.stored == 0
    objective.train()(small_batch(objective))
    objective.stepped(0.5)
    assert objective.memory.stored == 8


def test_the_positive_of_a_view_is_the_film_that_lies_nearest() -> None:
    """With a memory of the projections themselves, the neighbour of a film is the film."""
    objective = small_method("nnclr", memory=8, neighbours=1, temperature=0.01)
    objective.predictor = torch.nn.Identity()
    batch = small_batch(objective, shift=0)
    random = objective(batch).loss.item()
    objective.stepped(0.5)
    assert objective(batch).loss.item() < 0.1 * random


def test_more_neighbours_than_the_memory_holds_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"neighbours=5 are more than memory=4 vectors\. Choose fewer"):
        objective_settings({"name": "nnclr", "memory": 4, "neighbours": 5})
