"""The box head against FCOS of torchvision: selection of boxes, assignment and losses."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from mae_rad.heads.fcos_head import BoxHead, choose_boxes
from mae_rad.losses.fcos import BACKGROUND, IGNORED, LOCATIONS_PER_FILM, BoxTargets, assign_boxes, box_losses

STRIDES, SIZE, LABELS = (4, 8, 16, 32), (160, 96), 2


def maps_of(films=2, channels=32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(-(-SIZE[1] // stride), -(-SIZE[0] // stride)) for stride in STRIDES]
    return [torch.randn(films, channels, *shape, generator=draw) for shape in shapes]


def head(seed=0):
    torch.manual_seed(seed)
    box_head = BoxHead(32, LABELS, 1)
    for part in (box_head.fcos.classification_head.cls_logits, box_head.fcos.regression_head.bbox_reg):
        torch.nn.init.normal_(part.weight, std=0.05)
    torch.nn.init.zeros_(box_head.fcos.classification_head.cls_logits.bias)
    torch.nn.init.constant_(box_head.fcos.regression_head.bbox_reg.bias, 3.0)  # no box is empty
    return box_head.eval()


def drawn_target(seed, count, weights=(1.0, 1.0), low=10.0, high=70.0):
    draw = torch.Generator().manual_seed(seed)
    extent = torch.empty(count, 2).uniform_(low, high, generator=draw)
    corner = torch.rand(count, 2, generator=draw) * (torch.tensor(SIZE) - extent).clamp(min=1)
    labels = torch.randint(0, LABELS, (count,), generator=draw)
    return BoxTargets(torch.cat((corner, corner + extent), dim=1), labels, torch.tensor(weights))


class Fcos:
    """torchvision's own detector around our head's network."""

    def __init__(self, ours, maps):
        backbone = torch.nn.Identity()
        backbone.out_channels = 32
        anchors = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * 4)
        self.model = FCOS(
            backbone, LABELS, anchor_generator=anchors, head=ours.fcos, score_thresh=0.6, nms_thresh=0.5,
            detections_per_img=40, topk_candidates=10_000,
        )  # fmt: skip
        images = ImageList(torch.zeros(len(maps[0]), 1, SIZE[1], SIZE[0]), [(SIZE[1], SIZE[0])] * len(maps[0]))
        # Its anchors lie around the corners of the cells, those of the paper around their middles.
        self.anchors = [
            one + torch.cat([torch.full((len(cells[0, 0].flatten()), 4), stride / 2) for cells, stride in
                             zip(maps, STRIDES, strict=True)])
            for one in anchors(images, maps)
        ]  # fmt: skip
        self.per_map = [cells[0, 0].numel() for cells in maps]


def test_chosen_boxes_are_those_of_torchvision():
    maps, ours = maps_of(), head()
    theirs = Fcos(ours, maps)
    predictions = ours(maps, STRIDES, SIZE)
    out = {name: list(value.split(theirs.per_map, dim=1)) for name, value in ours.fcos(maps).items()}
    anchors = [list(one.split(theirs.per_map)) for one in theirs.anchors]
    expected = theirs.model.postprocess_detections(out, anchors, [(SIZE[1], SIZE[0])] * 2)
    chosen = choose_boxes(predictions, least=0.6, overlap=0.5, most=40)
    for mine, other in zip(chosen, expected, strict=True):
        assert len(mine.scores) > 10
        torch.testing.assert_close(mine.corners, other["boxes"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(mine.scores, other["scores"])
        assert torch.equal(mine.labels, other["labels"])


def test_no_two_chosen_boxes_of_a_label_overlap_and_all_lie_in_the_film():
    (film,) = choose_boxes(head()(maps_of(1), STRIDES, SIZE), least=0.1, overlap=0.3, most=100)
    assert (film.scores.diff() <= 0).all()
    assert (film.corners >= 0).all()
    assert (film.corners <= torch.tensor([*SIZE, *SIZE])).all()
    for label in range(LABELS):
        own = film.corners[film.labels == label]
        assert (box_iou(own, own) - torch.eye(len(own))).max() <= 0.3


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_assigned_to_locations_as_in_torchvision(seed):
    maps, ours = maps_of(), head()
    theirs = Fcos(ours, maps)
    targets = [drawn_target(seed, 6), drawn_target(seed + 100, 0)]
    seen = []
    ours.fcos.compute_loss = lambda targets, outputs, anchors, matched: seen.extend(matched) or {}
    theirs.model.compute_loss(
        [{"boxes": one.corners, "labels": one.labels} for one in targets], {}, theirs.anchors, theirs.per_map
    )
    predictions = ours(maps, STRIDES, SIZE)
    for target, expected in zip(targets, seen, strict=True):
        assignment = assign_boxes(predictions.places, target)
        assert torch.equal(assignment, expected)
        assert set(assignment.tolist()) == {BACKGROUND, *range(len(target.corners))}


def test_losses_are_those_of_torchvision():
    maps, ours = maps_of(), head()
    predictions, theirs = ours(maps, STRIDES, SIZE), Fcos(ours, maps)
    targets = [drawn_target(3, 5), drawn_target(4, 2)]
    expected = theirs.model.compute_loss(
        [{"boxes": one.corners, "labels": one.labels} for one in targets], ours.fcos(maps), theirs.anchors,
        theirs.per_map,
    )  # fmt: skip
    losses = box_losses(predictions, targets)
    assignment = sum(int((assign_boxes(predictions.places, one) >= 0).sum()) for one in targets)
    scale = assignment / (LOCATIONS_PER_FILM * len(targets))  # theirs is a mean over the places that answer
    torch.testing.assert_close(losses.label, expected["classification"] * scale)
    torch.testing.assert_close(losses.box, expected["bbox_regression"] * scale)


def test_the_loss_of_a_batch_is_the_mean_over_its_films():
    maps, ours = maps_of(3), head()
    targets = [drawn_target(3, 5), drawn_target(4, 0), drawn_target(5, 1)]
    alone = [
        box_losses(ours([cells[film : film + 1] for cells in maps], STRIDES, SIZE), [target])
        for film, target in enumerate(targets)
    ]
    for name, whole in box_losses(ours(maps, STRIDES, SIZE), targets)._asdict().items():
        torch.testing.assert_close(whole, sum(getattr(one, name) for one in alone) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_every_box_has_a_location_however_small_or_thin(seed):
    places = head()(maps_of(), STRIDES, SIZE).places
    draw = torch.Generator().manual_seed(seed)
    corner = torch.stack((torch.arange(5) * 30.0 + 4, torch.full((5,), 40.0)), dim=1) + torch.rand(5, 2, generator=draw)
    extent = torch.tensor([[0.5, 0.5], [1, 20], [20, 1], [2, 2], [3, 0.2]])
    target = BoxTargets(torch.cat((corner, corner + extent), 1), torch.zeros(5, dtype=torch.long), torch.ones(2))
    assignment = assign_boxes(places, target)
    assert set(assignment.tolist()) == {BACKGROUND, 0, 1, 2, 3, 4}
    for box in range(5):
        point = places.points[assignment == box]
        away = torch.maximum(corner[box] - point, point - corner[box] - extent[box]).amax(dim=1)
        assert away.max() <= 2 * 2**0.5  # half a finest cell


def test_unknown_labels_do_not_change_the_loss():
    maps, ours = maps_of(1), head()
    predictions = ours(maps, STRIDES, SIZE)
    one = drawn_target(3, 4)
    first = BoxTargets(one.corners[one.labels == 0], one.labels[one.labels == 0], torch.tensor([1.0, 0.0]))
    logits = predictions.logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(box_losses(predictions._replace(logits=logits), [first]).label, logits)
    assert gradient[..., 0].abs().min() > 0
    assert gradient[..., 1].abs().max() == 0


def test_locations_in_an_ignored_box_are_left_out():
    places = head()(maps_of(), STRIDES, SIZE).places
    box = torch.tensor([[20.0, 20, 60, 70]])
    target = BoxTargets(box, torch.tensor([-1]), torch.ones(2))
    assignment = assign_boxes(places, target)
    inside = ((places.points > box[0, :2]) & (places.points < box[0, 2:])).all(dim=1)
    assert torch.equal(assignment == IGNORED, inside)
    assert (assignment[~inside] == BACKGROUND).all()


def test_films_without_a_box_have_a_gradient():
    ours = head()
    losses = box_losses(ours(maps_of(), STRIDES, SIZE), [drawn_target(0, 0), drawn_target(1, 0)])
    assert losses.label > 0
    assert losses.box == losses.fit == 0
    (losses.label + losses.box + losses.fit).backward()


@pytest.mark.slow
def test_a_head_learns_where_a_bright_box_is():
    torch.manual_seed(0)
    ours, pixels = BoxHead(32, 1, 1), torch.zeros(1, 1, SIZE[1], SIZE[0])
    pixels[0, 0, 40:54, 60:84] = 1.0
    maps = [torch.nn.functional.avg_pool2d(pixels, stride).repeat(1, 32, 1, 1) + 0.01 for stride in STRIDES]
    target = BoxTargets(torch.tensor([[60.0, 40, 84, 54]]), torch.tensor([0]), torch.ones(1))
    optimizer = torch.optim.Adam(ours.parameters(), lr=5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        sum(box_losses(ours(maps, STRIDES, SIZE), [target])).backward()
        optimizer.step()
    (film,) = choose_boxes(ours(maps, STRIDES, SIZE), least=0.05, overlap=0.5, most=5)
    assert box_iou(film.corners[:1], target.corners).item() > 0.7
