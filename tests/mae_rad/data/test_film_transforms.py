"""Users' transforms change displayed films at full depth, the same for each draw, and boxes follow them."""

import json
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.errors import SettingsError
from data_prep.settings import load
from mae_rad.data.augmentation import Augmentation
from mae_rad.data.batch import ViewSpec
from mae_rad.data.film_transforms import bias_field, local_contrast, transform_film
from mae_rad.data.views import draw_view, stack
from mae_rad.encoders.film_image import as_image
from mae_rad.finetuning.detection.box_targets import FilmBoxes
from mae_rad.finetuning.task.settings import FilmSettings
from mae_rad.pretraining.settings import PretrainSettings

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 65536, (96, 128), dtype=np.uint16)


def saved(folder: Path, *transforms: Any) -> Path:
    path = folder / "transforms.yaml"
    albumentations.save(albumentations.Compose(list(transforms)), path, data_format="yaml")
    return path


def content(folder: Path, *transforms: Any) -> dict[str, Any]:
    values = Augmentation.model_validate({"transforms": saved(folder, *transforms)}).transforms
    assert values is not None
    return values


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (albumentations.CLAHE(p=1), "CLAHE goes through 8 bits or less: of 30720 grey levels it leaves"),
        (albumentations.Equalize(p=0.1), "Equalize goes through 8 bits"),
        (albumentations.MedianBlur(p=1), "MedianBlur goes through 8 bits"),
        (albumentations.ImageCompression(p=1), "ImageCompression goes through 8 bits"),
        (albumentations.OneOf([albumentations.Posterize(p=1), albumentations.Blur(p=1)]), "Posterize goes through 8"),
        (albumentations.RandomRotate90(p=1), "RandomRotate90 changes the size of a film"),
        (albumentations.RandomFog(p=1), "RandomFog cannot be applied to a grey film"),
        (albumentations.Normalize(p=1), "Normalize does not return display values from 0 to 1"),
        (albumentations.FromFloat(p=1), "FromFloat does not return display values"),
    ],
)  # fmt: skip
def test_what_loses_grey_levels_or_the_film_is_refused_by_name(tmp_path: Path, transform: Any, message: str) -> None:
    path = saved(tmp_path, transform)
    with pytest.raises(SettingsError, match=message) as refused:
        load(FilmSettings, None, [f"transforms={path}"])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is no readable YAML file"),
        ("a: 1", "holds no transform"),
        ("transform: {__class_fullname__: os.system, p: 1}", "cannot read the transforms: .*os.system"),
        ("transform: {__class_fullname__: Blur, p: 1, blurr: 3}", "cannot read the transforms: .*blurr"),
        ("transform: !!python/object/apply:os.getcwd []", "is no readable YAML file"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "file.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message) as refused:
        load(FilmSettings, None, [f"transforms={tmp_path / 'file.yaml'}"])
    assert "\n" not in str(refused.value)
    with pytest.raises(SettingsError, match=r"or bias_field, blur, contrastive, finetuning, local_contrast, rotation"):
        load(FilmSettings, None, ["transforms=rotatoin"])


def test_a_seed_gives_the_same_film_at_full_depth(tmp_path: Path) -> None:
    transforms = content(
        tmp_path, albumentations.Affine(rotate=(-20, 20), p=1), albumentations.GaussNoise(p=1),
        albumentations.OneOf([albumentations.Blur(p=1), albumentations.RandomGamma(p=1)], p=1),
    )  # fmt: skip
    films = [transform_film(IMAGE, transforms, seed).image for seed in (1, 2, 1)]
    assert np.array_equal(films[0], films[2]) and not np.array_equal(films[0], films[1])
    assert films[0].dtype == np.uint16 and len(np.unique(films[0])) > 2000
    assert np.array_equal(transform_film(IMAGE, content(tmp_path, albumentations.NoOp()), 1).image, IMAGE)


@pytest.mark.parametrize(
    "transform",
    [
        albumentations.Affine(rotate=(20, 20), scale=(0.8, 0.8), p=1),
        albumentations.HorizontalFlip(p=1),
        albumentations.Affine(translate_px={"x": (30, 30), "y": (-10, -10)}, p=1),
        albumentations.ElasticTransform(alpha=20, sigma=6, p=1),
    ],
)
def test_boxes_follow_what_they_enclose(tmp_path: Path, transform: Any) -> None:
    image, corners = np.zeros((160, 160), dtype=np.uint16), np.array([[60.0, 40, 90, 70], [20, 90, 40, 100]])
    for left, top, right, bottom in corners.astype(int):
        image[top:bottom, left:right] = 65535
    target = FilmBoxes(corners, np.array([0, 1]), np.ones(2, dtype=np.float32), np.ones((10, 10), dtype=np.bool_))
    moved, points = transform_film(image, content(tmp_path, transform), 3, target.points)
    boxes = target.moved(points, (160, 160)).corners
    seen = np.zeros(image.shape, dtype=np.bool_)
    for box in boxes:
        left, top, right, bottom = np.round(box).astype(int)
        inside = moved[top:bottom, left:right] > 32767
        found = np.argwhere(inside)
        extent = np.array([right - left, bottom - top])
        assert (np.ptp(found[:, ::-1], axis=0) + 1 >= extent - 3).all()  # the box is tight
        seen[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = True
    assert not (moved[~seen] > 32767).any()  # and holds all of it


def test_boxes_that_leave_the_film_are_ignored_or_dropped(tmp_path: Path) -> None:
    corners = np.array([[100.0, 10, 120, 30], [60, 10, 70, 20], [10, 10, 20, 20]])
    target = FilmBoxes(corners, np.array([0, 0, 0]), np.ones(1, dtype=np.float32), np.ones((8, 8), dtype=np.bool_))
    shift = albumentations.Affine(translate_px={"x": (64, 64), "y": (0, 0)}, p=1)
    image = np.zeros((128, 128), dtype=np.uint16)
    moved = target.moved(transform_film(image, content(tmp_path, shift), 0, target.points).points, (128, 128))
    np.testing.assert_allclose(moved.corners, [[124, 10, 128, 20], [74, 10, 84, 20]], atol=1e-4)
    assert moved.labels.tolist() == [-1, 0]


def settings(tmp_path: Path, objective: str, *transforms: Any) -> PretrainSettings:
    words = ["data.shards=[s]", "encoder.model=vit_tiny", "optimizer={steps: 9, batch: 2}", "runtime.run_dir=r"]
    path = saved(tmp_path, *transforms)
    return load(PretrainSettings, None, [*words, f"objective={{name: {objective}, transforms: {path}}}"])


def test_what_is_predicted_stays_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="transforms move pixels, and patches are predicted at their places"):
        settings(tmp_path, "mae", albumentations.Rotate(p=0.5))
    assert settings(tmp_path, "mae", albumentations.Blur(p=0.5)).objective.views()["film"].augmentation.transforms
    assert settings(tmp_path, "simclr", albumentations.Rotate(p=0.5))


def test_the_content_of_the_file_is_part_of_the_run(tmp_path: Path) -> None:
    runs = [settings(tmp_path, "simclr", albumentations.Blur(p=p)) for p in (0.5, 0.6)]
    assert runs[0].results() != runs[1].results()
    assert str(tmp_path) not in json.dumps(runs[0].model_dump(mode="json"))
    again = PretrainSettings.model_validate(runs[0].model_dump(mode="json"))
    assert again.results() == runs[0].results()
    plain = load(PretrainSettings, None, ["objective.name=simclr"], base=runs[0].model_dump(exclude={"objective"}))
    assert "transforms" not in plain.results()["objective"]


class OneFilm:
    """A film whose display is the identity."""

    def __init__(self, values: NDArray[np.uint16]) -> None:
        from data_prep.shard_format.sidecar import Sidecar
        from mae_rad.data.film import Film
        from tests.builders.shard_builder import film

        stream, sidecar = film("f", values, bits=15)
        self.film = Film(stream, Sidecar.model_validate(sidecar))


def test_what_is_visible_and_what_is_predicted_are_transformed_alike(tmp_path: Path) -> None:
    film = OneFilm(RANDOM.integers(0, 32768, (160, 160), dtype=np.uint16)).film
    blur = albumentations.GaussianBlur(sigma_limit=(2, 2), p=1)
    blurred = settings(tmp_path, "mae", blur).objective.views()["film"]
    plain = blurred.without_augmentation()
    views = [draw_view(film, spec, 16, np.random.default_rng(4)) for spec in (blurred, plain)]
    for part in ("visible", "predicted"):
        with_blur, without = (getattr(view, part) for view in views)
        np.testing.assert_array_equal(with_blur.coords, without.coords)  # the draws are the same
        assert with_blur.values.std() < 0.5 * without.values.std()


def test_a_contrastive_view_is_turned(tmp_path: Path) -> None:
    film = OneFilm(RANDOM.integers(0, 32768, (160, 160), dtype=np.uint16)).film
    turn = content(tmp_path, albumentations.Rotate(limit=(90, 90), p=1))
    images = []
    for transforms in (turn, None):
        spec = ViewSpec(100, Augmentation.model_validate({"transforms": transforms}))
        view = draw_view(film, spec, 16, np.random.default_rng(4))
        assert view is not None
        images.append(as_image(stack([view.visible]), 16)[0, 0].numpy())
    np.testing.assert_allclose(images[0][2:-2, 2:-2], np.rot90(images[1])[2:-2, 2:-2], atol=30)


def test_own_pixel_functions_do_what_they_say() -> None:
    image = np.full((64, 80, 1), 0.4, dtype=np.float32)
    np.testing.assert_allclose(local_contrast(image, 1.6, 5), image, atol=1e-6)
    image[20:40, 30:50] = 0.6
    stronger, weaker = (local_contrast(image, factor, 8)[..., 0] for factor in (1.6, 0.6))
    edge = [float(part[30, 30] - part[30, 29]) for part in (weaker, image[..., 0], stronger)]
    np.testing.assert_allclose(edge, [0.6 * 0.2, 0.2, 1.6 * 0.2], atol=0.03)
    np.testing.assert_allclose(local_contrast(image, 1, 8), image, atol=1e-6)
    field = bias_field(np.full((64, 80, 1), 0.5, dtype=np.float32), np.array([1.0, 0, 0, 0, 0]), 0.3)[..., 0]
    np.testing.assert_allclose(field[:, 0] / field[:, -1], 1 / 1.3**2, rtol=1e-4)  # from 1 / 1.3 to 1.3
    assert np.ptp(field, axis=0).max() < 1e-6


def test_the_rotation_preset_keeps_proportions() -> None:
    transforms = Augmentation.model_validate({"transforms": "rotation"}).transforms
    assert transforms is not None
    square, image = np.array([[40.0, 40], [80, 40], [80, 80]]), np.zeros((128, 128), dtype=np.uint16)
    angles = []
    for seed in range(20):
        corner, right, below = transform_film(image, transforms, seed, square).points
        sides = np.array([right - corner, below - right])
        lengths = np.linalg.norm(sides, axis=1)
        np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-3)
        assert 40 * 0.8 - 0.1 <= lengths[0] <= 40 * 1.2 + 0.1
        angles.append(abs(np.degrees(np.arctan2(*sides[0][::-1]))))
    assert 10 < max(angles) <= 20.01
