"""Patients who stand out are counted, and no count names a value."""

from typing import Any

import pyarrow as pa

from data_prep.dataset_report.film_samples import draw_films
from data_prep.shard_format.rare_values import find_rare_values


def _index(*films: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(films))


def _film(patient: int, **values: Any) -> dict[str, Any]:
    usual = {"body_part": "HAND", "sex": "F", "age_years": 59, "manufacturer": "Siemens"}
    return {"patient": f"p{patient}", **usual, **values}


ONE = _film(99, body_part="SKULL", sex="O", age_years=90, manufacturer="Konica Minolta")


def test_one_patient_of_an_archive_stands_out() -> None:
    rare = find_rare_values(_index(*(_film(number // 2) for number in range(46)), ONE, ONE))
    assert rare.columns == {"body_part": 1, "sex": 1, "age_years": 1, "manufacturer": 1}
    assert (rare.patients, rare.alone) == (1, 1)
    assert not [value for value in ("SKULL", "90", "Konica", "p99") if value in str(rare)]


def test_common_values_in_a_combination_of_one_patient() -> None:
    films = [_film(number, sex="FM"[number % 2], body_part=("HAND", "CHEST")[number % 2]) for number in range(40)]
    rare = find_rare_values(_index(*films, _film(40, sex="M")))
    assert rare.columns == {} and (rare.patients, rare.alone) == (0, 1)


def test_unknown_values_are_not_rare_and_films_count_once() -> None:
    films = [_film(number, age_years=None if number == 3 else 59) for number in range(20)]
    assert find_rare_values(_index(*films)).columns == {}
    many = [_film(1, sex="M")] * 30
    assert find_rare_values(_index(*(_film(number) for number in range(2, 20)), *many)).columns == {"sex": 1}
    assert find_rare_values(_index(ONE).slice(0, 0)).patients == 0


def test_captions_of_the_report_name_no_rare_value(monkeypatch: Any) -> None:
    from data_prep.dataset_report import film_samples

    monkeypatch.setattr(film_samples, "_draw_film", lambda _, row: row)
    rest = {"view": "PA", "laterality": "L"}
    films = [_film(number) | rest for number in range(20)] + [ONE | rest]
    drawn = draw_films(None, _index(*films), [0, 20])  # type: ignore[arg-type]
    assert [film["body_part"] for film in drawn] == ["HAND", None]  # type: ignore[index]
    assert [film["view"] for film in drawn] == ["PA", "PA"]  # type: ignore[index]
