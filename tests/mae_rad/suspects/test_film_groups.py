import pyarrow as pa

from mae_rad.suspects.film_groups import film_groups


def test_films_of_a_patient_and_of_equal_pixels_are_together() -> None:
    table = pa.table({"patient": ["a", "a", "b", "c", "d"], "pixels": ["1", "2", "2", "3", "4"]})
    first, second, third, fourth, fifth = film_groups(table).tolist()
    assert first == second == third
    assert len({first, fourth, fifth}) == 3


def test_links_reach_over_several_patients() -> None:
    table = pa.table({"patient": ["a", "b", "b", "c", "e"], "pixels": ["1", "1", "2", "2", "9"]})
    groups = film_groups(table).tolist()
    assert len(set(groups[:4])) == 1
    assert groups[4] != groups[0]
