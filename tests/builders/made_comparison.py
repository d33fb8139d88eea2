"""A comparison of random numbers, with every kind of row that a real comparison has."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mae_rad.evaluation.report.facts import Count, EncoderFacts, Facts, TaskFacts
from mae_rad.evaluation.results.rows import RANDOM_BASELINE, Row, Verdict
from mae_rad.evaluation.statistics.intervals import Interval

TASKS = ("body_part", "view", "foreign_object", "fracture", "sex", "cardiomegaly", "cast", "effusion")
ENCODERS = {"mae": "mae", "simclr": "simclr", "supervised": "supervised", "pixel_pca": "pca", RANDOM_BASELINE: "random"}
FEW = {"mae": "mae", "simclr": "simclr", RANDOM_BASELINE: "random"}
FRACTIONS = (0.01, 0.1, 1.0)
FILMS, PATIENTS, TRAIN, TRAIN_PATIENTS = 538, 148, 1012, 290


def made_rows(
    tasks: Sequence[str] = TASKS,
    encoders: dict[str, str] = ENCODERS,
    *,
    probes: Sequence[str] = ("linear", "knn", "attentive"),
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> list[Row]:
    """Values over label fractions, paired differences, subsets, geometry, retrieval, clusters and shortcuts."""
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for task in tasks:
        metrics = ("macro_auroc",) if task == "body_part" else ("auroc", "average_precision")
        for probe in probes:
            level = {name: random.uniform(0.72, 0.93) if kind != "random" else 0.66 for name, kind in encoders.items()}
            for fraction in fractions:
                for name, kind in encoders.items():
                    for metric in metrics:
                        value = level[name] - 0.09 * (1 - fraction) ** 4 - 0.08 * (metric == "average_precision")
                        rows.append(_value(name, kind, task, probe, metric, fraction, value, random))
                rows += _differences(task, probe, metrics[0], fraction, level, encoders, random)
    return rows + _subsets(tasks[-2:], encoders, random) + _unlabelled(encoders, random)


def _value(
    name: str, kind: str, task: str, probe: str, metric: str, fraction: float, value: float,
    random: np.random.Generator, **more: object,
) -> Row:  # fmt: skip
    half = random.uniform(0.015, 0.05)
    fields: dict[str, object] = {
        "encoder": name, "method": kind, "task": task, "probe": probe, "metric": metric, "label_fraction": fraction,
        "interval": Interval(value, value - half, min(1.0, value + half)), "pretraining_seed": 0,
        "n_films": FILMS, "n_patients": PATIENTS, "n_train": round(TRAIN * fraction),
        "n_train_patients": round(TRAIN_PATIENTS * fraction), "note": "C=1 (validation patients)",
    }  # fmt: skip
    return Row(**(fields | more))  # type: ignore[arg-type]


def _differences(
    task: str, probe: str, metric: str, fraction: float, level: dict[str, float], encoders: dict[str, str],
    random: np.random.Generator,
) -> list[Row]:  # fmt: skip
    trained = [name for name in encoders if name != RANDOM_BASELINE]
    pairs = [(name, RANDOM_BASELINE) for name in trained if RANDOM_BASELINE in encoders] + list(
        combinations(trained, 2)
    )
    rows = []
    for one, other in pairs:
        value, half = level[one] - level[other], random.uniform(0.01, 0.06)
        least = 1.43 * half
        verdict: Verdict = "no difference shown" if least < 0.05 else "too few patients"
        if abs(value) > half:
            verdict = "higher" if value > 0 else "lower"
        elif abs(value) + half < 0.02:
            verdict = "no relevant difference"
        rows.append(
            _value(
                one, encoders[one], task, probe, metric, fraction, level[one], random, reference=other,
                n_reference_runs=1, difference=Interval(value, value - half, value + half), verdict=verdict,
                p_value=0.01 if abs(value) > half else 0.4, p_adjusted=0.03 if abs(value) > half else 0.9,
                minimum_detectable_difference=least,
            )
        )  # fmt: skip
    return rows


def _subsets(tasks: Sequence[str], encoders: dict[str, str], random: np.random.Generator) -> list[Row]:
    rows = []
    for task in tasks:
        for subset, patients in (
            ("body_part=HAND", 60), ("body_part=CHEST", 55), ("body_part=SCAPULA", 4), ("object_size=4-10 px", 40),
            ("object_size=10-20 px", 44), ("object_size=20-40 px", 50), ("within manufacturer", 148),
        ):  # fmt: skip
            rows += [
                _value(
                    name, kind, task, "linear", "auroc", 1.0, random.uniform(0.55, 0.9), random, subset=subset,
                    n_patients=patients, n_films=3 * patients,
                )
                for name, kind in encoders.items()
            ]  # fmt: skip
    return rows


def _unlabelled(encoders: dict[str, str], random: np.random.Generator) -> list[Row]:
    rows = []
    none = {"n_train": 0, "n_train_patients": 0}
    for name, kind in encoders.items():
        for metric, value in (("rankme", 40.0), ("alignment", 0.8), ("uniformity", -2.5)):
            rows.append(
                _value(name, kind, "geometry", "geometry", metric, 1.0, value * random.uniform(0.6, 1), random, **none)
            )
        found = [(task, "retrieval", "map_at_100") for task in ("same body part and view", "same patient")]
        found += [("body_part", "clustering", metric) for metric in ("nmi", "ari")]
        found += [(task, "shortcut", "macro_auroc") for task in ("manufacturer", "side_marker", "bits_stored")]
        rows += [_value(name, kind, *one, 1.0, random.uniform(0.3, 0.9), random, **none) for one in found]
        for other in encoders:
            if list(encoders).index(other) > list(encoders).index(name):
                value = random.uniform(0.1, 0.8)
                rows.append(
                    _value(
                        name, kind, "geometry", "geometry", "linear_cka", 1.0, value, random, reference=other, **none
                    )
                )
    rows.append(
        _value(
            "mae", "mae", "foreign_object", "shortcut", "auroc", 1.0, 0.7, random, subset="within manufacturer",
            reference="all films", difference=Interval(-0.15, -0.2, -0.1), verdict="lower", p_adjusted=0.001,
            note="manufacturer",
        )
    )  # fmt: skip
    return rows


def made_facts(tasks: Sequence[str] = TASKS, encoders: dict[str, str] = ENCODERS) -> Facts:
    """What goes with :func:`made_rows`."""
    test = Count(films=FILMS, patients=PATIENTS)
    train = Count(films=TRAIN, patients=TRAIN_PATIENTS)
    return Facts(
        dataset_sha256="ab" * 32, config_sha256="cd" * 32, version="0.1.0", written_on="2026-11-26",
        splits={"train": train, "val": Count(films=123, patients=42), "test": test},
        files={"written": 1673, "rejected": 21, "dropped": 9}, reject_reasons={"corrupt_pixels": 15, "colour": 6},
        same_pixels_across_splits=2,
        tasks=[
            TaskFacts(
                name=task, binary=task not in ("body_part", "view", "sex"),
                classes={"absent": Count(films=400, patients=120), "present": Count(films=138, patients=60)},
                splits={"train": train, "test": test}, left_out={"uncertain": 12, "not labelled": 7},
                sources={"expert": 1500},
            )
            for task in tasks
        ],
        not_asked={"laterality": "every film is L"},
        encoders=[
            EncoderFacts(name=name, method=kind, about=f"vit_tiny, 5.5 million parameters, objective {kind}")
            for name, kind in encoders.items()
        ],
        repetitions=1000, relevant_difference=0.03,
    )  # fmt: skip
