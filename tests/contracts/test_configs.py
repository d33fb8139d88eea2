"""Every file in configs/ loads, and says at its head what it is for."""

from pathlib import Path

import pytest
import yaml

from data_prep.labels.settings import LabelSettings
from data_prep.planning.settings import ShardSettings
from data_prep.scan.settings import ScanSettings
from data_prep.settings import Settings, load
from mae_rad.cost.memory import estimate_memory
from mae_rad.cost.plan import cost_report
from mae_rad.cost.table import GIB, Machine, films_per_second, films_seen, films_that_fit, loader_cores
from mae_rad.data.augmentation import Augmentation
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.objectives import SimCLRSettings
from mae_rad.pairing.settings import PairSettings
from mae_rad.pretraining.rate_report import rate_report
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import micro_batch_size

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MODELS: dict[str, type[Settings]] = {
    "data_prep/scan.yaml": ScanSettings,
    "data_prep/shard.yaml": ShardSettings,
    "data_prep/label.yaml": LabelSettings,
    "pretrain": PretrainSettings,
    "finetune": FinetuneSettings,
    "compare": CompareSettings,
}
STRATEGIES = CONFIGS / "pairs"
TRANSFORMS = CONFIGS / "augmentation"
"""Files of transforms, which have albumentations' own form."""
REQUIRED = {CompareSettings: ["shards=PUBLIC", "out=OUT"]}


@pytest.mark.parametrize("path", sorted(TRANSFORMS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_transforms_loads_by_its_name(path: Path) -> None:
    transforms = Augmentation.model_validate({"transforms": path.stem}).transforms
    assert transforms == yaml.safe_load(path.read_text(encoding="utf-8"))
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert "Off by default: " in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(STRATEGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_strategy_of_pairs_loads_by_its_name(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    chosen = SimCLRSettings.model_validate({"pairs": path.stem}).pairs
    assert chosen == PairSettings.model_validate({"name": path.stem} | yaml.safe_load(text))
    assert text.startswith("# ")
    again = SimCLRSettings.model_validate(SimCLRSettings(pairs=chosen).model_dump(mode="json"))
    assert again.pairs == chosen  # as a run records it
    assert (chosen == PairSettings()) == (path.stem == "e0_instance")


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent not in {TRANSFORMS, STRATEGIES}],
    ids=lambda path: str(path.relative_to(CONFIGS)),
)
def test_every_config_loads(path: Path) -> None:
    place = path.relative_to(CONFIGS)
    model = MODELS.get(str(place)) or MODELS[place.parts[0]]
    load(model, path, REQUIRED.get(model, []))
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_progressive_config_costs_what_it_says() -> None:
    path = CONFIGS / "pretrain" / "mae_progressive.yaml"
    header = path.read_text(encoding="utf-8").partition("seed:")[0]
    machine = Machine(flops=0.4 * 600e12, gpus=8, memory=80 * GIB, pixel_seconds=9.4e-9, stored_side=1536)
    settings = load(PretrainSettings, path)
    throughout = load(PretrainSettings, path, ["objective.schedule=[]"])
    early, late, whole = (
        f"{films_seen(one) / films_per_second(one, machine) / 3600:.0f}" for one in (*settings.stages(), throughout)
    )
    assert f"{early} GPU hours at 196 and {late} at 1024, against {whole} at 1024 throughout" in header
    assert all(micro_batch_size(one, machine.gpus) <= films_that_fit(one, machine) for one in settings.stages())
    assert all(settings.runtime.workers > loader_cores(one, machine) for one in settings.stages())


def test_the_cluster_config_costs_what_it_says() -> None:
    path = CONFIGS / "pretrain" / "cluster_vit_l.yaml"
    header = path.read_text(encoding="utf-8").partition("seed:")[0]
    settings = load(PretrainSettings, path)
    machine = Machine(flops=0.4 * 600e12, gpus=32, memory=80 * GIB, pixel_seconds=9.4e-9, stored_side=1536)
    micro, memory = micro_batch_size(settings, machine.gpus), estimate_memory(settings, machine.gpus)
    rate = films_per_second(settings, machine)
    assert micro <= films_that_fit(settings, machine)
    assert settings.runtime.workers > loader_cores(settings, machine)
    assert "UNTESTED AT THAT SCALE" in header
    assert f"{rate:.0f} films/s a GPU" in header
    assert f"{films_seen(settings) / rate / 3600:.0f} GPU hours" in header
    assert f"({films_seen(settings) / rate / 3600 / 32:.0f} hours on\n# 32)" in header
    assert f"{(memory.per_film + memory.working) / GIB:.0f} GiB per film" in header
    assert f"({micro} films a forward pass)" in header
    assert f"{loader_cores(settings, machine):.1f} loader cores" in header
    assert f"seen {films_seen(settings) / 1e6:.0f} times" in header


@pytest.mark.parametrize(
    ("name", "gib", "tflops"), [("one_gpu_24gb", 24, 70), ("one_gpu_24gb_simclr", 24, 70), ("one_gpu_80gb", 80, 300)]
)
def test_a_config_for_one_gpu_fits_as_the_cost_command_says(name: str, gib: int, tflops: int) -> None:
    header = (CONFIGS / "pretrain" / f"{name}.yaml").read_text().partition("seed:")[0].replace("\n# ", " ")
    settings = load(PretrainSettings, CONFIGS / "pretrain" / f"{name}.yaml")
    report = cost_report(
        settings, tokens="", models="", budgets="", tflops=tflops, measure=False, utilisation=0.4, gpus=1,
        gpu_gib=gib, pixel_ns=9.4, stored_side=1536, films=1_000_000,
    )  # fmt: skip
    (line,) = (line for line in report.splitlines() if line.startswith("fits"))
    needed, _, verdict = line.removeprefix("fits").strip().rpartition(": ")
    assert verdict == "fits"
    assert f"{needed}." in header
    assert f"--config {name} --gpus 1 --gpu-gib {gib} --tflops {tflops}" in header
    machine = Machine(flops=0.4 * tflops * 1e12, gpus=1, memory=gib * GIB, pixel_seconds=9.4e-9, stored_side=1536)
    stages = settings.stages()
    hours = [f"{films_seen(one) / films_per_second(one, machine) / 3600:.0f}" for one in stages]
    cores = [f"{loader_cores(one, machine):.1f}" for one in stages]
    assert (f"{hours[0]} hours" if len(stages) == 1 else f"{hours[0]} hours at 196 and {hours[1]} at 1024") in header
    assert f"{' and '.join(cores)} loader cores" in header
    assert settings.runtime.workers > max(map(float, cores))
    assert not rate_report(settings).is_outside
