"""Settings are strict, and the shipped config files are complete and equal the defaults."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest

from data_prep.errors import SettingsError
from data_prep.planning.settings import ShardSettings
from data_prep.scan.settings import ScanSettings
from data_prep.settings import ChosenByName, Settings, digest, load, setting_groups

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "data_prep"


@pytest.mark.parametrize(("name", "model"), [("scan", ScanSettings), ("shard", ShardSettings)])
def test_every_shipped_config_is_complete_and_equals_the_defaults(name: str, model: type[Settings]) -> None:
    path = CONFIGS / f"{name}.yaml"
    assert load(model, path) == model()
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ") and f"mae-rad {name}" in text
    for field in model.model_fields:
        assert f"\n{field}:" in text


def test_overrides_take_precedence_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "shard.yaml"
    file.write_text("max_side: 512\nsplits:\n  val: 0.2\n")
    chosen = load(ShardSettings, file, ["max_side=native", "splits.test=0.3", "runtime.workers=2"])
    assert chosen.max_side == "native"
    assert (chosen.splits.val, chosen.splits.test, chosen.runtime.workers) == (0.2, 0.3, 2)


@pytest.mark.parametrize(
    ("override", "nearest"),
    [("wokers=2", "workers"), ("key_fiel=x", "key_file"), ("sauce=x", "source")],
)
def test_an_unknown_key_names_the_nearest_valid_one(override: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown setting.*did you mean '{nearest}|{nearest}'"):
        load(ScanSettings, None, [override])


@pytest.mark.parametrize(
    "override",
    ["workers=-1", "workers=many", "workers", "image_pattern=(", "image_pattern=abc", "image_pattern=(?P<name>.)"],
)
def test_a_value_out_of_range_is_one_clear_line(override: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(ScanSettings, None, [override])
    assert override.partition("=")[0] in str(raised.value)
    assert "\n" not in str(raised.value)


def test_splits_without_patients_in_train_are_refused() -> None:
    with pytest.raises(SettingsError, match="train"):
        load(ShardSettings, None, ["splits.val=0.5", "splits.test=0.5"])


def test_a_missing_or_malformed_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml does not exist"):
        load(ScanSettings, tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("workers: [1")
    with pytest.raises(SettingsError, match=r"broken\.yaml is not valid YAML"):
        load(ScanSettings, broken)


def test_equal_settings_have_equal_digests() -> None:
    assert digest(ScanSettings()) == digest(load(ScanSettings, None, ["workers=0"]))
    assert digest(ScanSettings()) != digest(ScanSettings(source="north"))


@pytest.mark.parametrize(
    ("former", "name"), [("file_seconds", "file_timeout_seconds"), ("recycle_files", "restart_after_files")]
)
def test_a_former_name_of_a_setting_is_accepted_with_a_note(
    former: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        chosen = load(ShardSettings, None, [f"runtime.{former}=7"])
    assert getattr(chosen.runtime, name) == 7
    assert f"setting {former} is now called {name}" in caplog.text
    file = tmp_path / "shard.yaml"
    file.write_text(f"runtime:\n  {former}: 7\n  {name}: 7\n")
    with pytest.raises(SettingsError, match=f"{former} is the former name of {name}; give the setting once"):
        load(ShardSettings, file)


def test_an_override_by_the_former_name_replaces_the_value_of_a_shipped_config() -> None:
    chosen = load(ShardSettings, CONFIGS / "shard.yaml", ["runtime.file_seconds=60"])
    assert chosen.runtime.file_timeout_seconds == 60


def test_an_override_by_the_current_name_replaces_the_former_name_of_an_older_file(tmp_path: Path) -> None:
    file = tmp_path / "shard.yaml"
    file.write_text("runtime:\n  recycle_files: 10\n")
    assert load(ShardSettings, file, ["runtime.restart_after_files=20"]).runtime.restart_after_files == 20


class _First(Settings):
    renamed: ClassVar[Mapping[str, str]] = {"size": "width"}

    name: Literal["first"] = "first"
    width: int = 1


class _Second(Settings):
    name: Literal["second"] = "second"
    places: int = 2


class _Whole(Settings):
    chosen: Annotated[Settings, ChosenByName({"first": _First, "second": _Second})] = _First()
    several: tuple[_First, ...] = ()
    either: _Second | int = 3


def test_groups_are_found_wherever_a_field_may_hold_them() -> None:
    found = {name: [group.__name__ for group in setting_groups(field)] for name, field in _Whole.model_fields.items()}
    assert found == {"chosen": ["Settings", "_First", "_Second"], "several": ["_First"], "either": ["_Second"]}


def test_an_override_replaces_the_former_name_in_a_group_that_is_chosen_by_name(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    for given, override in (("size", "width"), ("width", "size"), ("size", "size")):
        file.write_text(f"chosen: {{name: first, {given}: 5}}\n")
        assert load(_Whole, file, [f"chosen.{override}=7"]).chosen == _First(width=7)
    with pytest.raises(SettingsError, match=r"unknown setting 'chosen.plces'.*did you mean 'chosen.places'"):
        load(_Whole, None, ["chosen.name=second", "chosen.plces=1"])
