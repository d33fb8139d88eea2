"""Patterns of users end after two seconds, with one line."""

import pytest

from data_prep.archive.image_file import groups_of_path
from data_prep.errors import SettingsError
from data_prep.runtime.user_patterns import search

ENDLESS = r"^(?P<body_part>(a|aa)+)[bd]$"


def test_a_pattern_finds_what_it_describes() -> None:
    assert groups_of_path("KNIE_NEU/a/b", r"^(?P<body_part>[^/]+)/") == {"body_part": "KNIE_NEU"}
    assert search("b+", "abbc", setting="s") and not search("b+", "abbc", setting="s", whole=True)


def test_an_endless_search_is_ended_with_the_name_of_its_setting() -> None:
    with pytest.raises(SettingsError, match="image_pattern took more than 2 s"):
        groups_of_path("a" * 60 + "c", ENDLESS)
