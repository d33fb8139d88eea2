import pytest
import torch
import yaml

from data_prep.settings import load
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import EvaluationError, WeightsError
from mae_rad.evaluation.comparison.candidates import Candidate, find_candidates
from mae_rad.evaluation.comparison.compare_encoders import ComparisonInputs
from mae_rad.evaluation.comparison.compute_budget import Budget, infer_arms, read_budget
from mae_rad.evaluation.comparison.differences import encoder_pairs
from mae_rad.evaluation.comparison.embed_candidates import EmbeddedCandidate
from mae_rad.evaluation.comparison.settings import CompareSettings, EncoderEntry
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, RAW_PIXELS, is_self_supervised
from mae_rad.export.encoder_folder import save_encoder
from mae_rad.pretraining.run_flops import flops_per_film, training_flops
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.film_tables import film, write_public

TINY = EncoderSettings(model="vit_tiny", dim=8, depth=1, heads=1)
DATA = "d" * 64


def run(
    folder,
    objective="mae",
    seed=0,
    films=1000,
    flops=1e9,
    dataset=DATA,
    steps=None,
    shards=("shards",),
    shape=TINY,
    **more,
):
    """A run folder; with steps it has settings, too."""
    provenance = {
        "objective": objective,
        "films_seen": films,
        "training_flops": flops,
        "dataset_sha256": dataset,
    } | more
    torch.manual_seed(seed)
    save_encoder(build_encoder(shape), shape, folder / "encoder", tokens=196, provenance=provenance)
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
        {"shards": ["s"], "out": "o", "pixel_components": 0, "random_seeds": []} | more
    )
    return find_candidates(runs, settings, DATA)


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    runs = [run(tmp_path / f"mae-{seed}", seed=seed, steps=10) for seed in (0, 1, 2)]
    longer = run(tmp_path / "longer", seed=0, steps=20)
    bare = [run(tmp_path / f"bare-{seed}", seed=seed) for seed in (0, 1)]
    candidates = found([*runs, longer, *bare])
    assert [one.group for one in candidates] == ["mae", "mae", "mae", "longer", "bare-0", "bare-1"]
    assert [one.seed for one in candidates[:3]] == [0, 1, 2]


def test_methods_are_those_that_the_encoder_states(tmp_path):
    runs = [
        run(tmp_path / "a", "simclr"),
        run(tmp_path / "b", "classification", method="supervised"),
        run(tmp_path / "c", None, converted_from="timm", films=None),
        run(tmp_path / "d", "mae", labels="fracture"),  # begun with what labels had taught
        run(tmp_path / "e", "byol"),  # of another installation
    ]
    candidates = found(runs)
    assert [one.method for one in candidates] == ["simclr", "supervised", "imported", "supervised", "byol"]
    assert [is_self_supervised(one.method) for one in candidates] == [True, False, False, False, True]
    assert candidates[0].arms == candidates[4].arms == ("sample_matched", "compute_matched")
    assert "trained with labels of all its training films: fracture" in candidates[3].about
    assert candidates[3].budget is None
    (one,) = found([], encoders=[{"run": tmp_path / "a", "method": "imported", "name": "elsewhere"}])
    assert (one.name, one.method) == ("elsewhere", "imported")


def test_an_encoder_that_read_labels_is_compared_at_no_smaller_share_of_them(tmp_path):
    read = {"pairs": "e13_fracture", "labels_read": "fracture", "labels_fraction": 0.1}
    candidates = found([run(tmp_path / "a", "simclr"), run(tmp_path / "b", "simclr", **read)])
    assert [one.labels_fraction for one in candidates] == [0.0, 0.1]
    assert "pairs e13_fracture, read labels of 10% of the patients in pretraining: fracture" in candidates[1].about
    inputs = ComparisonInputs([EmbeddedCandidate(one, {}) for one in candidates], *[None] * 6)
    assert [len(inputs.encoders_with(fraction)) for fraction in (0.01, 0.1, 1.0)] == [1, 2, 2]


def test_random_encoders_and_pixels_follow_the_runs(tmp_path):
    candidates = found([run(tmp_path / "mae")], random_seeds=[0, 1], pixel_components=8)
    assert [(one.name, one.group, one.method) for one in candidates] == [
        ("mae", "mae", "mae"),
        *((f"{RANDOM_BASELINE} {seed}", RANDOM_BASELINE, "random") for seed in (0, 1)),
        (RAW_PIXELS, RAW_PIXELS, "pca"),
    ]
    assert candidates[1].encoder_sha256 != candidates[2].encoder_sha256


def test_arms_are_derived_from_films_and_flops():
    costs = (1000, 1e9), (1010, 9e9), (110, 1.02e9), (2000, 5e9)
    budgets = [*(Budget(*cost) for cost in costs), None]
    assert infer_arms(budgets, 0.05) == [
        ("sample_matched", "compute_matched"), ("sample_matched",), ("compute_matched",), (), (),
    ]  # fmt: skip
    assert infer_arms([None, Budget(10, None), Budget(10, None)], 0.05) == [
        (),
        ("sample_matched",),
        ("sample_matched",),
    ]


def test_only_runs_of_one_arm_are_compared_and_a_mismatch_is_noted(tmp_path):
    mae = run(tmp_path / "mae", films=1000, flops=1e9)
    samples = run(tmp_path / "simclr-samples", "simclr", films=1000, flops=8e9)
    compute = run(tmp_path / "simclr-compute", "simclr", films=125, flops=1e9)
    compared = {(pair.encoder, pair.reference): pair for pair in encoder_pairs(found([mae, samples, compute]), 0.05)}
    assert {names: pair.arm for names, pair in compared.items()} == {
        ("mae", "simclr-samples"): "sample_matched",
        ("mae", "simclr-compute"): "compute_matched",
    }
    assert not any(pair.note for pair in compared.values())
    entries = [{"run": mae, "arms": ["sample_matched"]}, {"run": compute, "arms": ["sample_matched"]}]
    (pair,) = encoder_pairs(found([], encoders=entries), 0.05)
    assert pair.note == "declared sample_matched, but films seen differs by 700%"
    unknown = Candidate("x", "simclr", "x", ("compute_matched",), budget=Budget(10, None))
    (pair,) = encoder_pairs([Candidate("y", "mae", "y", ("compute_matched",), budget=Budget(10, 1.0)), unknown], 0.05)
    assert "is not known of every run" in pair.note


def test_different_backbones_or_shards_in_one_arm_are_noted(tmp_path):
    arms = {"arms": ["sample_matched"]}
    mae = {"run": run(tmp_path / "mae"), **arms}
    for name, more, said in (
        ("deeper", {"shape": TINY.model_copy(update={"depth": 2})}, "their backbones differ"),
        ("kernel", {"shape": TINY.model_copy(update={"attention": "plain"})}, ""),
        ("elsewhere", {"dataset": "e" * 64}, "they were pretrained on different shards"),
    ):
        entry = {"run": run(tmp_path / name, "simclr", seed=1, **more), **arms}
        (pair,) = encoder_pairs(found([], encoders=[mae, entry]), 0.05)
        assert pair.note == said


def test_runs_on_other_shards_or_of_other_length_are_not_grouped(tmp_path):
    runs = [run(tmp_path / f"mae-{seed}", seed=seed, steps=10) for seed in (0, 1)]
    other = run(tmp_path / "other", seed=2, steps=10, dataset="e" * 64)
    shorter = run(tmp_path / "shorter", seed=3, steps=10, films=500)
    assert [one.group for one in found([*runs, other, shorter])] == ["mae", "mae", "other", "shorter"]


def test_a_run_that_does_not_repeat_the_method_of_its_group_is_an_error(tmp_path):
    mae, simclr = run(tmp_path / "mae", seed=0), run(tmp_path / "simclr", "simclr", seed=1)
    copied, longer = run(tmp_path / "copied", seed=0), run(tmp_path / "longer", dataset="e" * 64, seed=4)
    (tmp_path / "seeded").mkdir()
    seeded = [run(tmp_path / "seeded" / name, **{"seed": number}) for number, name in enumerate("ab")]
    for folder in seeded:
        config = settings_of(7, 10).model_dump(mode="json")
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for entries, said in (
        ([{"run": mae}, {"run": copied}], "have the same weights"),
        ([{"run": folder} for folder in seeded], "have the same seed"),
        ([{"run": mae}, {"run": simclr}], "are of several methods"),
        ([{"run": mae, "arms": ["sample_matched"]}, {"run": longer}], "are in different arms"),
    ):
        with pytest.raises(EvaluationError, match=said):
            found([], encoders=[{**entry, "group": "MAE"} for entry in entries])


def test_the_budget_of_a_checkpoint_ends_at_its_step(tmp_path):
    whole = training_flops(settings_of(0, 10))
    for steps in (4, 10):
        folder = run(tmp_path / str(steps), steps=10, films=8 * steps)
        budget = read_budget(folder, {"films_seen": 8 * steps, "steps": steps})
        assert budget.flops == pytest.approx(whole * steps / 10)
    staged = load(
        PretrainSettings, None, ["objective.schedule=[{until: 0.5, tokens: 49}]"], base=settings_of(0, 10).model_dump()
    )
    first = training_flops(staged, 5)
    assert first < 0.4 * training_flops(staged)
    assert training_flops(staged, 7) == pytest.approx(first + 2 / 5 * (training_flops(staged) - first))


def test_a_run_started_from_other_weights_is_not_matched(tmp_path):
    mae = run(tmp_path / "mae")
    going_on = run(tmp_path / "simclr", "simclr", seed=1, started_from_sha256="a" * 64)
    arms = {"arms": ["sample_matched", "compute_matched"]}
    candidates = found([], encoders=[{"run": mae, **arms}, {"run": going_on, **arms}])
    assert "started from the weights of another encoder" in candidates[1].about
    (pair,) = encoder_pairs(candidates, 0.05)
    assert pair.note.count("is not known of every run") == 2
    assert [one.arms for one in found([mae, going_on])] == [(), ()]


def test_the_settings_of_a_run_are_described(tmp_path):
    (one,) = found([run(tmp_path / "mae", steps=10)])
    for said in ("vit_tiny", "films seen 1000", "T 196", "visible 0.25", "augmentation: none"):
        assert said in one.about


def test_a_run_in_no_arm_is_compared_with_everyone():
    one, two = (
        Candidate(name, "mae", name, arms) for name, arms in (("a", ("sample_matched",)), ("b", ("compute_matched",)))
    )
    other, floor = Candidate("c", "foreign", "c"), Candidate(RANDOM_BASELINE, "random", RANDOM_BASELINE)
    compared = [(pair.encoder, pair.reference, pair.arm) for pair in encoder_pairs([one, two, other, floor], 0.05)]
    assert compared == [
        ("a", RANDOM_BASELINE, "none"), ("b", RANDOM_BASELINE, "none"), ("c", RANDOM_BASELINE, "none"),
        ("a", "c", "none"), ("b", "c", "none"),
    ]  # fmt: skip


def test_encoders_trained_on_other_shards_are_marked(tmp_path):
    one, other = found([run(tmp_path / "mae"), run(tmp_path / "elsewhere", dataset="e" * 64)])
    assert (one.other_films, other.other_films) == (False, True)


def test_weights_chosen_by_labels_of_val_are_marked_where_val_is_scored(tmp_path):
    supervised = run(tmp_path / "head", labels="fracture")
    own = run(tmp_path / "mae")
    assert [one.other_films for one in found([supervised, own])] == [False, False]
    assert [one.other_films for one in found([supervised, own], score_on="val")] == [True, False]


def test_a_run_whose_shards_include_these_was_not_trained_on_test_films(tmp_path):
    publics = [write_public(tmp_path / name, [film(name, name, "train")]) for name in ("a", "b", "c")]
    index = ShardIndex(publics[:2], split=None)
    folder = run(
        tmp_path / "mae", dataset=index.dataset_sha256, steps=4, shards=[str(public) for public in publics[:2]]
    )
    for shards, seen in ((publics[:1], False), (publics[:2], False), (publics[2:], True)):
        (one,) = found([folder], shards=shards)
        assert one.other_films is seen


def test_flops_of_a_run_are_summed_over_its_stages():
    settings = settings_of(0, 10)
    assert training_flops(settings) == pytest.approx(80 * flops_per_film(settings).training)
    staged = load(PretrainSettings, None, ["objective.schedule=[{until: 0.5, tokens: 49}]"], base=settings.model_dump())
    assert training_flops(staged) < 0.7 * training_flops(settings)


def test_encoders_that_cannot_be_compared_are_an_error(tmp_path):
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


def test_a_slip_of_a_known_method_is_refused():
    with pytest.raises(ValueError, match=r"superviesd is not a known method\. Did you mean supervised"):
        EncoderEntry(run="run", method="superviesd")
    assert EncoderEntry(run="run", method="dino").method == "dino"


def test_an_external_encoder_says_what_it_is(tmp_path):
    entries = [
        {"foreign": "a.parquet", "about": "ImageNet; 128 px", "other_films": False},
        {"foreign": "b.parquet"},
        {"foreign": "c.parquet", "role": "ceiling"},
        {"run": run(tmp_path / "best"), "role": "ceiling", "about": "all labels"},
    ]
    first, second, third, fourth = found([run(tmp_path / "mae")], encoders=entries)[1:]
    assert (first.about, first.other_films, first.role) == ("ImageNet; 128 px", False, "encoder")
    assert (second.other_films, second.role) == (True, "encoder")
    assert (third.other_films, third.role) == (False, "ceiling")
    assert fourth.about.startswith("all labels, vit_tiny")
