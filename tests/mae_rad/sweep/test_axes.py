"""Values of ``--over``: lists and ranges, and what is refused."""

import pytest

from mae_rad.errors import SettingsError
from mae_rad.sweep.axes import Range, read_axes


def test_lists_and_ranges_are_read() -> None:
    rate, crop, layers, noise = read_axes(
        ["optimizer.base_learning_rate=log:1e-5:1e-3", "objective.crop=null,[0.5, 1.0]", "encoder.depth=int:2:6",
         "film.noise=uniform:0:0.5"]
    )  # fmt: skip
    assert (rate.key, rate.range) == ("optimizer.base_learning_rate", Range("log", 1e-5, 1e-3))
    assert (crop.values, crop.range) == (("null", "[0.5, 1.0]"), None)
    assert (layers.range, layers.ends) == (Range("int", 2, 6), ("2", "6"))
    assert noise.text == "uniform:0.0:0.5"


def test_a_value_with_a_colon_is_no_range() -> None:
    assert read_axes(["objective.schedule=[],[{until: 0.5, tokens: 64}]"])[0].range is None
    assert read_axes(["start_from=s3:one,two"])[0].values == ("s3:one", "two")


@pytest.mark.parametrize(
    ("over", "told"),
    [
        (["seed=1,,2"], "without empty values"),
        (["seed"], "give key=value"),
        (["=1"], "give key=value"),
        (["film.noise=log:0:1"], "LOW above 0 must be below HIGH"),
        (["film.noise=uniform:1:0.5"], "LOW must be below HIGH"),
        (["encoder.depth=int:2:2.5"], "two whole numbers"),
        (["film.noise=log:a:b"], "two numbers"),
        (["film.noise=log:1"], "two numbers"),
        (["film.noise=log:1e-5:inf"], "must be finite"),
        (["film.noise=uniform:nan:1"], "must be finite"),
        (["seed=1,01"], "seed has the value 01 twice"),
        (["seed=2,1,1.0"], r"seed has the value 1\.0 twice"),
        (["film.noise=0.001,1e-3"], "noise has the value 1e-3 twice"),
        (["seed=1,2", "seed=3"], "seed is given twice"),
        (["optimizer.batch=8,16"], "given as a setting and as --over"),
    ],
)
def test_wrong_values_are_refused(over: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        read_axes(over, ["optimizer.batch=8"])
