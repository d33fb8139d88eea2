"""Losses that predict the output of another network or view, without negatives: SimSiam, BYOL and DINO.

Legend: n local films, D features, K outputs, S crops of the student, G of the teacher.
"""

import torch
from torch import Tensor

from mae_rad.losses.all_ranks import count_rows, sum_over_ranks
from mae_rad.losses.vectors import at_least_float32, product, unit_rows


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Mean negative cosine (Chen and He 2021, eq. 1); BYOL (Grill et al. 2020, eq. 2) is 2 plus twice this.

    The stop-gradient of both papers is the caller's: ``negative_cosine(p, z.detach())``.

    Args:
        p: [n, D] predictions of one view.
        z: [n, D] projections of the other view, in the same order.

    Returns:
        [] loss in [-1, 1], in float32 or float64; its mean over ranks is that of all films.
    """
    return -(unit_rows(p) * unit_rows(z)).sum(dim=1).mean()


def dino(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Cross-entropy between teacher and student over pairs of different crops (Caron et al. 2021, eq. 1 to 3).

    As in the public code, the mean over pairs and films, where eq. 3 has the sum over pairs. The stop-gradient of the
    teacher is the caller's. :func:`dino_center` moves the centre, after the loss.

    Args:
        student: [S, n, K] logits of all crops, those that the teacher got first, in its order; or [n, K] of one crop.
        teacher: [G, n, K] logits of the global crops; or [n, K] of one crop that is not the student's.
        center: [K] moving mean of the teacher's logits.
        student_temperature: divisor of the student's logits.
        teacher_temperature: divisor of the teacher's centred logits.

    Returns:
        [] loss in float32 or float64; its mean over ranks is that of all films.

    Raises:
        ValueError: no two crops differ.
    """
    are_different_crops = student.dim() == 2
    if are_different_crops:
        student, teacher = student[None], teacher[None]
    targets = ((at_least_float32(teacher) - center) / teacher_temperature).softmax(dim=-1)
    predictions = (at_least_float32(student) / student_temperature).log_softmax(dim=-1)
    crops = torch.ones(len(teacher), len(student), dtype=torch.bool, device=student.device)
    pairs = crops if are_different_crops else ~torch.eye(*crops.shape, dtype=torch.bool, device=student.device)
    if len(teacher) == len(student) == 1 and not are_different_crops:
        raise ValueError("dino needs a crop of the student that the teacher did not get. Give two crops or more")
    cross_entropy = -product(targets.flatten(1), predictions.flatten(1).T) / student.shape[1]
    return (cross_entropy * pairs).sum() / pairs.sum()


@torch.no_grad()
def dino_center(center: Tensor, teacher: Tensor, momentum: float = 0.9) -> Tensor:
    """Move the centre towards the mean of the teacher's logits (Caron et al. 2021, eq. 4). A collective call.

    Args:
        center: [K] present centre, equal on all ranks.
        teacher: [..., K] raw logits of this rank, of all global crops.
        momentum: share of the present centre.

    Returns:
        [K] new centre, equal on all ranks.
    """
    logits = at_least_float32(teacher).reshape(-1, teacher.shape[-1])
    mean = sum_over_ranks(logits.sum(dim=0)) / count_rows(logits)
    return momentum * center + (1 - momentum) * mean
