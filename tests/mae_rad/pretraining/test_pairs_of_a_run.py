"""Strategies in a training: the default changes nothing, partners are trained on, what does not fit is refused."""

import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.settings import load
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import LABELS_FILE
from mae_rad.data.batch import Batch
from mae_rad.errors import RunError, SettingsError
from mae_rad.export.encoder_folder import read_card
from mae_rad.objectives import ObjectiveOutput
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.pretraining.task import Pretraining
from mae_rad.training.deepspeed_engine import Engine
from tests.builders.shard_builder import film, hexed, noise, write_public
from tests.builders.tiny_run import arguments

FILMS, STEPS = 18, 4
SIMCLR = "{name: simclr, tokens: 36, head_hidden: 8, head_dim: 4"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    films = [
        film(
            f"f{i}", noise(90, 90, seed=i), study=hexed("s", i // 2 if i < 16 else i), patient=hexed("p", i // 4),
            body_part=("HAND", "FOOT")[i % 3 == 0],
        )
        for i in range(FILMS)
    ]  # fmt: skip
    folder = write_public(tmp_path / "public", films)
    _label(folder, ["present", "absent"])
    return folder


def _label(public: Path, values: list[str]) -> None:
    rows = [
        {"key": hexed("film", f"f{i}"), "label": "fracture", "value": values[i % 2], "source": "expert"}
        for i in range(FILMS)
    ]
    pq.write_table(pa.Table.from_pylist(rows, LABELS_SCHEMA), public / LABELS_FILE)


def _settings(public: Path, *more: str, pairs: str | None = None, run: str = "run") -> PretrainSettings:
    objective = SIMCLR + (f", pairs: {pairs}}}" if pairs else "}")
    words = arguments(public, public.parent / run, STEPS, f"objective={objective}", *more)
    return load(PretrainSettings, Path(words[1]), words[2:])


def test_a_strategy_has_the_name_of_its_file_or_its_own(public: Path) -> None:
    (public.parent / "mine.yaml").write_text("partner: study\n")
    names = [
        _settings(public, pairs=pairs).objective.strategy.name
        for pairs in (str(public.parent / "mine.yaml"), "{partner: study}", "{name: ours, partner: study}", "{}")
    ]
    assert names == ["mine", "unnamed", "ours", "e0_instance"]


def test_the_default_is_the_instance_strategy(public: Path) -> None:
    omitted, instance = _settings(public), _settings(public, pairs="e0_instance", run="named")
    assert omitted.results() == instance.results()
    assert "pairs" not in omitted.results()["objective"] and "labels" not in omitted.results()  # type: ignore[operator]
    pretrain(omitted)
    pretrain(instance)
    one, other = (read_card(public.parent / run / "encoder") for run in ("run", "named"))
    assert one.weights_sha256 == other.weights_sha256
    assert one.provenance == other.provenance and "pairs" not in one.provenance


def test_partners_of_the_study_are_trained_on_and_those_alone_are_counted(
    public: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        pretrain(_settings(public, pairs="e1_study"))
    assert "pairs: 2 of 18 films have no partner and are their own" in caplog.text
    lines = [json.loads(line) for line in (public.parent / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["dropped_rows"] == 0 for line in lines)
    assert all(line["own_partner"] < 0.5 for line in lines)
    provenance = read_card(public.parent / "run" / "encoder").provenance
    assert provenance["pairs"] == "e1_study" and "labels_fraction" not in provenance


def test_a_run_whose_labels_changed_is_not_resumed(public: Path) -> None:
    settings = _settings(public, pairs="e13_fracture")
    pretrain(settings)
    provenance = read_card(public.parent / "run" / "encoder").provenance
    assert (provenance["labels_read"], provenance["labels_from"]) == ("fracture", "expert_wins")
    assert provenance["labels_fraction"] == 1.0
    pretrain(settings)  # finished: nothing is trained
    _label(public, ["absent", "present"])
    with pytest.raises(RunError, match=r"was started with other column label\.fracture: the"):
        pretrain(settings)


def test_a_run_with_partners_strata_and_neighbours_resumes_bit_for_bit(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = (
        "{partner: study, batches: {together: [body_part], schedule: [{until: 0.3}]},"
        " relation: [film, {neighbours: 2, ring: 4, every: 2}]}"
    )
    words = ("optimizer.batch=4", "optimizer.steps=6", "runtime.checkpoint_every=1")
    pretrain(_settings(public, *words, pairs=pairs))
    forward, taken = Engine.forward, 0

    def stopping(self: Engine, batch: Batch) -> ObjectiveOutput:
        nonlocal taken
        taken += 1
        if taken == 4:
            raise KeyboardInterrupt
        return forward(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "forward", stopping)
        with pytest.raises(KeyboardInterrupt):
            pretrain(_settings(public, *words, pairs=pairs, run="cut"))
    pretrain(_settings(public, *words, pairs=pairs, run="cut"))
    one, other = (read_card(public.parent / run / "encoder").weights_sha256 for run in ("run", "cut"))
    assert one == other


@pytest.mark.parametrize(
    ("pairs", "more", "why"),
    [
        ("{relation: [{same: [bodypart]}]}", (), "the index has no column 'bodypart'"),
        ("{relation: [{same: [label.pneumonia]}]}", (), "no training film has the label 'pneumonia'"),
        ("{relation: [{kernel: body_part, sigma: 1}]}", (), "column 'body_part' holds no numbers"),
        ("{partner: {same: [study], other: [body_part, manufacturer]}}", (), "none of 18 films has a partner"),
        ("{batches: {together: [body_part], groups: 3}}", (), "8 films of a forward pass are not divisible by 3"),
        ("{batches: {together: [view]}}", ("data.weights={view: {PA: 2}}",), "leave data.weights out"),
        ("e1_study", ("data.read=stream",), "leave partner and batches out of objective.pairs"),
        ("e1_stdy", (), "e1_stdy is no readable YAML file of a strategy. Give one, or a name: decoupled, e0_"),
        ("{partner: twin}", (), "twin is no rule for partners. Choose one of itself, study"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_training(
    public: Path, pairs: str, more: tuple[str, ...], why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        Pretraining(_settings(public, *more, pairs=pairs))


def test_a_method_that_compares_no_pairs_refuses_a_relation_and_takes_partners(public: Path) -> None:
    words = "objective={{name: simsiam, tokens: 36, head_hidden: 8, head_dim: 4, pairs: {}}}"
    with pytest.raises(SettingsError, match="objective simsiam compares no pairs of films"):
        _settings(public, words.format("e6_same_part_ignored"))
    chosen = _settings(public, words.format("e1_study"))
    assert chosen.objective.views()["b"].partner and not chosen.objective.views()["a"].partner
    assert _settings(public, words.format("e0_instance")).objective.strategy == _settings(public).objective.strategy


def test_composed_batches_are_trained_on(public: Path) -> None:
    pretrain(_settings(public, "optimizer.batch=4", pairs="{batches: {together: [body_part]}}"))
    assert (public.parent / "run" / "encoder").is_dir()
    with pytest.raises(SettingsError, match="15 films do not fill one global batch of 18"):
        Pretraining(_settings(public, "optimizer.batch=18", pairs="{batches: {together: [study], groups: 6}}"))
