import pytest
import torch
import yaml
from film_tables import film, write_public

from data_prep.settings import load
from mae_rad.config import PretrainSettings
from mae_rad.cost.flops import flops_per_film, training_flops
from mae_rad.data.shards import ShardIndex
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import EvaluationError, WeightsError
from mae_rad.evaluation.budget import Budget, found_arms
from mae_rad.evaluation.candidates import PIXELS, Candidate, find_candidates
from mae_rad.evaluation.measured import pairs
from mae_rad.evaluation.rows import FLOOR
from mae_rad.evaluation.settings import CompareSettings
from mae_rad.export.encoder import save_encoder

TINY = EncoderSettings(model="vit_tiny", dim=8, depth=1, heads=1)
DATA = "d" * 64


def run(folder, objective="mae", seed=0, films=1000, flops=1e9, dataset=DATA, steps=None, shards=("shards",), **more):
    """A run folder; with steps it has settings, too."""
    provenance = {
        "objective": objective,
        "films_seen": films,
        "training_flops": flops,
        "dataset_sha256": dataset,
    } | more
    torch.manual_seed(seed)
    save_encoder(build_encoder(TINY), TINY, folder / "encoder", tokens=196, provenance=provenance)
    if steps is not None:
        config = settings_of(seed, steps, shards).model_dump(mode="json")
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def settings_of(seed, steps, shards=("shards",)):
    words = [
        f"data={{shards: [{', '.join(shards)}]}}", "objective={name: mae}",
        "encoder={model: vit_tiny, dim: 8, depth: 1, heads: 1}",
        f"optimizer={{steps: {steps}, batch: 8}}", "runtime={run_dir: run}", f"seed={seed}",
    ]  # fmt: skip
    return load(PretrainSettings, None, words)


def found(runs, **more):
    settings = CompareSettings.model_validate(
        {"shards": ["s"], "out": "o", "pixel_components": 0, "floor_seeds": []} | more
    )
    return find_candidates(runs, settings, DATA)


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    runs = [run(tmp_path / f"mae-{seed}", seed=seed, steps=10) for seed in (0, 1, 2)]
    longer = run(tmp_path / "longer", seed=0, steps=20)
    bare = [run(tmp_path / f"bare-{seed}", seed=seed) for seed in (0, 1)]
    candidates = found([*runs, longer, *bare])
    assert [one.group for one in candidates] == ["mae", "mae", "mae", "longer", "bare-0", "bare-1"]
    assert [one.seed for one in candidates[:3]] == [0, 1, 2]


def test_methods_are_what_the_encoder_says(tmp_path):
    runs = [
        run(tmp_path / "a", "simclr"),
        run(tmp_path / "b", "classification", method="supervised"),
        run(tmp_path / "c", None, converted_from="timm", films=None),
    ]
    assert [one.method for one in found(runs)] == ["simclr", "supervised", "imported"]
    (one,) = found([], encoders=[{"run": tmp_path / "a", "method": "imported", "name": "elsewhere"}])
    assert (one.name, one.method) == ("elsewhere", "imported")


def test_floor_and_pixels_stand_beside_the_runs(tmp_path):
    candidates = found([run(tmp_path / "mae")], floor_seeds=[0, 1], pixel_components=8)
    assert [(one.name, one.group, one.method) for one in candidates] == [
        ("mae", "mae", "mae"),
        *((f"{FLOOR} {seed}", FLOOR, "random") for seed in (0, 1)),
        (PIXELS, PIXELS, "pca"),
    ]
    assert candidates[1].encoder_sha256 != candidates[2].encoder_sha256


def test_arms_are_found_from_films_and_arithmetic():
    costs = (1000, 1e9), (1010, 9e9), (110, 1.02e9), (2000, 5e9)
    budgets = [*(Budget(*cost) for cost in costs), None]
    assert found_arms(budgets, 0.05) == [
        ("sample_matched", "compute_matched"), ("sample_matched",), ("compute_matched",), (), (),
    ]  # fmt: skip
    assert found_arms([None, Budget(10, None), Budget(10, None)], 0.05) == [
        (),
        ("sample_matched",),
        ("sample_matched",),
    ]


def test_only_what_shares_an_arm_is_compared_and_a_mismatch_is_said(tmp_path):
    mae = run(tmp_path / "mae", films=1000, flops=1e9)
    samples = run(tmp_path / "simclr-samples", "simclr", films=1000, flops=8e9)
    compute = run(tmp_path / "simclr-compute", "simclr", films=125, flops=1e9)
    compared = {(pair.one, pair.other): pair for pair in pairs(found([mae, samples, compute]), 0.05)}
    assert {names: pair.arm for names, pair in compared.items()} == {
        ("mae", "simclr-samples"): "sample_matched",
        ("mae", "simclr-compute"): "compute_matched",
    }
    assert not any(pair.note for pair in compared.values())
    entries = [{"run": mae, "arms": ["sample_matched"]}, {"run": compute, "arms": ["sample_matched"]}]
    (pair,) = pairs(found([], encoders=entries), 0.05)
    assert pair.note == "declared sample_matched, but films seen differs by 700%"
    unknown = Candidate("x", "simclr", "x", ("compute_matched",), budget=Budget(10, None))
    (pair,) = pairs([Candidate("y", "mae", "y", ("compute_matched",), budget=Budget(10, 1.0)), unknown], 0.05)
    assert "is not known of every run" in pair.note


def test_a_run_in_no_arm_is_compared_with_everyone():
    one, two = (
        Candidate(name, "mae", name, arms) for name, arms in (("a", ("sample_matched",)), ("b", ("compute_matched",)))
    )
    other, floor = Candidate("c", "foreign", "c"), Candidate(FLOOR, "random", FLOOR)
    compared = [(pair.one, pair.other, pair.arm) for pair in pairs([one, two, other, floor], 0.05)]
    assert compared == [
        ("a", FLOOR, "none"), ("b", FLOOR, "none"), ("c", FLOOR, "none"), ("a", "c", "none"), ("b", "c", "none"),
    ]  # fmt: skip


def test_films_of_other_shards_are_told(tmp_path):
    one, other = found([run(tmp_path / "mae"), run(tmp_path / "elsewhere", dataset="e" * 64)])
    assert (one.other_films, other.other_films) == (False, True)


def test_a_run_on_more_shards_than_these_has_not_seen_the_test(tmp_path):
    publics = [write_public(tmp_path / name, [film(name, name, "train")]) for name in ("a", "b", "c")]
    index = ShardIndex(publics[:2], split=None)
    folder = run(
        tmp_path / "mae", dataset=index.dataset_sha256, steps=4, shards=[str(public) for public in publics[:2]]
    )
    for shards, seen in ((publics[:1], False), (publics[:2], False), (publics[2:], True)):
        (one,) = found([folder], shards=shards)
        assert one.other_films is seen


def test_arithmetic_of_a_run_is_counted_over_its_stages():
    settings = settings_of(0, 10)
    assert training_flops(settings) == pytest.approx(80 * flops_per_film(settings).training)
    staged = load(PretrainSettings, None, ["objective.schedule=[{until: 0.5, tokens: 49}]"], base=settings.model_dump())
    assert training_flops(staged) < 0.7 * training_flops(settings)


def test_what_cannot_be_compared_is_refused(tmp_path):
    mae = run(tmp_path / "mae")
    with pytest.raises(EvaluationError, match="no run is given"):
        found([])
    with pytest.raises(EvaluationError, match="different names"):
        found([mae, mae])
    with pytest.raises(EvaluationError, match="different names"):
        grouped = [{"run": mae, "group": "other"}, {"run": mae, "group": "other", "name": "again"}]
        found([], encoders=[*grouped, {"foreign": "x.parquet", "name": "other"}])
    with pytest.raises(WeightsError, match="is not an encoder folder"):
        found([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="either a run or a foreign table"):
        found([], encoders=[{"name": "nobody"}])
