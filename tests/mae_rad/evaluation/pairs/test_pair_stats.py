"""Before training: a strategy that was made worse on purpose is found, circular ones are named, few patients hidden."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_prep.shard_format.label_policy import LabelPolicy
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import SettingsError
from mae_rad.evaluation.pairs.asked_labels import read_asked
from mae_rad.evaluation.pairs.pair_statistics import PairStatistics, count_pairs
from mae_rad.evaluation.pairs.pair_stats import CountedStrategies, count_strategies, pair_stats
from mae_rad.evaluation.pairs.run_passes import RunPasses
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.film_tables import film, hexed, write_public
from tests.builders.tiny_run import ROOT

PATIENTS, PASSES = 120, 12
CONFIG = ROOT / "configs" / "pretrain" / "small_cpu_simclr.yaml"
POLICY = LabelPolicy()
SMALL = ["optimizer.batch=24", "optimizer.steps=40"]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and twenty patients with a study of two films each; the finding is the study's, by no scanner."""
    films: list[dict[str, Any]] = []
    labels: list[tuple[Any, ...]] = []
    for patient in range(PATIENTS):
        maker, part = "AB"[patient % 2], ("HAND", "KNEE", "CHEST")[patient % 3]
        state = "present" if (patient // 6) % 2 else "absent"
        for view in ("PA", "LAT"):
            name = (patient, view)
            films.append(
                film(name, patient, "train", manufacturer=maker, model="M", body_part=part, view=view, sex="F")
            )
            key = hexed("film", name)
            labels += [(key, "fracture", state, "expert"), (key, "fracture", state, "report")]
            labels.append((key, "effusion", state, "report"))
            labels.append((key, "rare", "present" if patient < 5 else "absent", "expert"))
    films.append(film("held out", "other", "test", manufacturer="C"))
    return write_public(tmp_path_factory.mktemp("pairs") / "public", films, labels)


def count(public: Path, *strategies: Any, more: dict[str, Any] | None = None) -> CountedStrategies:
    given = yaml.safe_load(CONFIG.read_text())
    given |= {"data": {"shards": [str(public)]}, "optimizer": given["optimizer"] | {"batch": 24, "steps": 40}}
    runs = [
        PretrainSettings.model_validate(given | (more or {}) | {"objective": given["objective"] | {"pairs": one}})
        for one in strategies
    ]
    return count_strategies(runs, passes=PASSES)


def one(public: Path, strategy: Any, **more: Any) -> tuple[PairStatistics, list[str]]:
    counted = count(public, strategy, more=more)
    (name,) = counted.found
    return counted.found[name], list(counted.warnings[name])


def test_partners_of_one_scanner_are_a_shortcut(public: Path) -> None:
    found, warnings = one(public, {"name": "scanner", "partner": {"same": ["manufacturer"]}})
    assert found.scanner_other_patients == pytest.approx(0.75, abs=0.03)  # half of all films have the same one
    assert any(text.startswith("shortcut:") for text in warnings)


def test_random_partners_are_no_purer_than_chance(public: Path) -> None:
    found, warnings = one(public, "e14_random")
    assert abs(found.excess) < 0.15
    assert found.other_patients > 0.95
    assert abs(found.scanner_other_patients - 0.5) < 0.06
    study, none = one(public, "e1_study")
    assert study.excess == pytest.approx(1.0)
    assert study.other_patients == 0 and study.coverage == 1 and none == []
    assert study.excess - found.excess > 0.8
    assert found.excess >= 0.02 or any("two random films" in text for text in warnings)


def test_instances_have_no_positives_of_other_films_and_no_warning(public: Path) -> None:
    found, warnings = one(public, "e0_instance")
    assert (found.coverage, found.own_partner, warnings) == (0.0, 1.0, [])
    assert math.isnan(found.excess) and math.isnan(found.other_patients)
    assert found.positives == (0.0, 0.0, 0.0)
    fracture = found.labels["fracture"]  # of two films of different studies: a half the state, a third the part
    assert fracture.false_negatives == pytest.approx(1 / 6, abs=0.03)


def test_matched_batches_keep_the_scanner_from_telling(public: Path) -> None:
    matched = {"name": "matched", "batches": {"together": ["body_part", "manufacturer"]}}
    free, found = one(public, "e0_instance")[0], one(public, matched)[0]
    assert free.scanner == pytest.approx(0.75, abs=0.02)
    assert (found.scanner, found.negatives["scanner"], found.negatives["body_part"]) == (0.5, 1.0, 1.0)
    assert found.films_left_out == pytest.approx(1 - 6 * 24 / 240)  # of 40 films of a stratum 24 fill a batch


def test_shares_are_those_of_a_count_pair_by_pair(public: Path) -> None:
    given = yaml.safe_load(CONFIG.read_text())
    given |= {"data": {"shards": [str(public)]}, "optimizer": given["optimizer"] | {"batch": 24, "steps": 40}}
    given["objective"] |= {"pairs": "e5_part_and_view"}
    settings, index = PretrainSettings.model_validate(given), ShardIndex([public])
    passes, rows = RunPasses(settings, index), index.table.to_pylist()
    (asked,) = [one for one in read_asked([row["key"] for row in rows], passes.patient.numpy(), [public], POLICY)[0]
                if one.name == "fracture"]  # fmt: skip
    found = count_pairs(settings.objective.strategy, passes, index.table, [asked], count=1)
    vectors = [(draw.position, draw.row) for _ in range(2) for draw in passes.order.step(0)]
    pure = pulled = others = false = pushed = 0.0
    for place, (position, i) in enumerate(vectors):
        pulls = []
        for other, (its_position, j) in enumerate(vectors):
            same = all(rows[i][name] == rows[j][name] for name in ("body_part", "view"))
            if other != place and (position == its_position or same):
                pulls.append(j)
            elif other != place and rows[i]["study"] != rows[j]["study"]:
                pushed += 1
                false += asked.states[i] == asked.states[j] and rows[i]["body_part"] == rows[j]["body_part"]
        for j in pulls:
            if j != i:
                pulled += 1 / len(pulls)
                pure += (asked.states[i] == asked.states[j]) / len(pulls)
                others += (rows[i]["patient"] != rows[j]["patient"]) / len(pulls)
    fracture = found.labels["fracture"]
    assert fracture.purity == pytest.approx(pure / pulled, abs=1e-6)
    assert found.other_patients == pytest.approx(others / pulled, abs=1e-6)
    assert fracture.false_negatives == pytest.approx(false / pushed, abs=1e-6)


def test_a_column_that_nobody_knows_gives_no_positives(public: Path) -> None:
    found, warnings = one(public, {"name": "sides", "relation": ["film", {"same": ["laterality"]}]})
    assert found.unknown == {"same laterality": (1.0, "push")}
    assert found.coverage == 0 and any(text.startswith("no positives:") for text in warnings)


def test_who_reads_what_is_asked_is_circular(public: Path) -> None:
    found, warnings = one(public, "e13_fracture")
    assert {name: label.is_circular for name, label in found.labels.items()} == {"effusion": True, "fracture": True}
    assert found.labels["fracture"].purity == pytest.approx(1.0)
    assert math.isnan(found.excess) and any(text.startswith("circular:") for text in warnings)


def test_who_reads_reports_is_judged_by_experts(public: Path) -> None:
    found, _ = one(public, "e13_fracture", labels={"policy": {"merge": "weak_only"}})
    assert not found.labels["fracture"].is_circular and found.labels["fracture"].is_of_experts
    assert found.labels["effusion"].is_circular  # only reports know it
    assert found.excess == pytest.approx(1.0)


def test_findings_of_few_patients_are_not_shown(public: Path) -> None:
    assert set(one(public, "e0_instance")[0].labels) == {"fracture", "effusion"}


def test_the_same_batches_give_the_same_numbers(public: Path) -> None:
    assert repr(count(public, "e14_random")) == repr(count(public, "e14_random"))


def test_what_cannot_be_trained_is_said_and_the_others_are_counted(public: Path) -> None:
    counted = count(public, {"name": "wrong", "partner": {"same": ["laterality"]}}, "e0_instance")
    assert set(counted.found) == {"e0_instance"}
    assert "none of 240 films has a partner" in counted.warnings["wrong"][0]


def test_pairs_that_the_encoder_will_choose_are_not_counted(public: Path) -> None:
    counted = count(public, "n8_mutual_neighbours", "e0_instance")
    assert set(counted.found) == {"e0_instance"} and "by the encoder" in counted.warnings["n8_mutual_neighbours"][0]


def test_table_and_pictures_are_written(public: Path, tmp_path: Path) -> None:
    strategies = ["e0_instance", "e5_part_and_view"]
    text = pair_stats([str(public)], pairs=strategies, config=CONFIG, settings=SMALL, passes=3, out=tmp_path / "stats")
    assert all(name in text for name in strategies)
    assert (tmp_path / "stats" / "e5_part_and_view.png").stat().st_size > 1000
    with (tmp_path / "stats" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["strategy"] for row in rows} == set(strategies)
    assert not any("rare" in row["of"] for row in rows)
    with pytest.raises(SettingsError, match="1 or more"):
        pair_stats([str(public)], pairs=strategies, config=CONFIG, settings=SMALL, passes=0)
