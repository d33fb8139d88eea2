"""The syntax of the word lists (words/README.md)."""

import re
from pathlib import Path

import pytest

import data_prep.radiology_reports
from data_prep.radiology_reports.cue_scope import CUES
from data_prep.radiology_reports.finding_words import FINDINGS
from data_prep.radiology_reports.phrases import KeywordFilter, compile_phrases, lowered, read_word_list
from data_prep.radiology_reports.sections import Kind

WORDS = Path(data_prep.radiology_reports.__file__).parent / "words"


@pytest.mark.parametrize(
    ("phrase", "found", "not_found"),
    [
        ("fraktur", ["keine fraktur.", "fraktur", "radius-fraktur"], ["radiusfraktur", "frakturen"]),
        ("*fraktur*", ["radiusfraktur", "frakturspalt"], ["fissur"]),
        ("k-draht", ["k-draht", "k draht", "kdraht"], ["kirschnerdraht"]),
        ("fremdkörper", ["fremdkörper", "fremdkoerper", "fremdkorper"], ["fremdkrper"]),
        ("fuß", ["fuß", "fuss"], ["fus"]),
        ("nicht (sicher|klar)? erkennbar", ["nicht erkennbar", "nicht klar  erkennbar"], ["nicht gut erkennbar"]),
        ("in situ", ["in\nsitu", "in-situ"], ["insitu"]),
        (
            "ist … frei",
            ["ist frei", "ist also ganz frei"],
            ["ist da, frei", "ist a b c d e f g frei", "ist nicht frei"],
        ),
        ("kein$", ["fraktur: kein.", "kein"], ["kein anhalt"]),
        ("z.n.", ["z.n. sturz", "z.n.sturz"], ["zn sturz"]),
        ("verlauf (bei|nach)?", ["verlauf bei", "verlauf"], ["verlaufbei"]),
    ],
)
def test_a_phrase_matches_as_the_readme_states(phrase: str, found: list[str], not_found: list[str]) -> None:
    one = compile_phrases([phrase])
    assert all(one.search(text) for text in found)
    assert not any(one.search(text) for text in not_found)


def test_the_longest_phrase_is_matched() -> None:
    match = compile_phrases(["auszuschließen", "nicht auszuschließen"]).search("ist nicht auszuschliessen")
    assert match is not None and match[0] == "nicht auszuschliessen"


def test_lower_case_keeps_offsets() -> None:
    text = "İstanbul FRAKTUR ẞ"
    assert len(lowered(text)) == len(text) and lowered(text)[9:16] == "fraktur"


def test_the_keyword_filter_finds_every_phrase() -> None:
    may_match = KeywordFilter(["(chest|left)-port", "z.n. me", "in situ"]).may_match
    assert may_match("the left port") and may_match("z.n. me") and may_match("in situ") and not may_match("left chest")


@pytest.mark.parametrize("path", sorted(WORDS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_line_of_a_list_is_a_comment_or_phrases(path: Path) -> None:
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    entries = read_word_list(path.stem)
    assert len(entries) == len(lines)
    for entry in entries:
        assert entry.phrases, entry
        for phrase in entry.phrases:
            assert phrase == phrase.lower() or path.stem in ("neighbours",), phrase
            assert phrase.count("(") == phrase.count(")"), phrase
            if path.stem != "sections":
                re.compile(compile_phrases([phrase]).pattern)


def test_keys_are_known() -> None:
    findings = {f"{name}{kind}" for name in ("en", "de", "both") for kind in ("", " not", " there")}
    for finding in FINDINGS:
        assert {entry.key for entry in read_word_list(finding)} <= findings, finding
    kinds = {f"{kind} {where}" for kind in CUES for where in ("before", "after", "within", "anywhere", "first")}
    kinds |= {f"exclusion {where}" for where in ("before", "after", "within")}
    for language in ("de", "en"):
        keys = {entry.key for entry in read_word_list(f"assertion_{language}")}
        assert keys - kinds == {"not", "trouble", "end", "fresh", "closing", "seen"}
    assert {entry.key for entry in read_word_list("assertion_both")} <= kinds
    assert {entry.key for entry in read_word_list("spelling")} == {"word", "stem", "right"}
    assert {entry.key for entry in read_word_list("answers")} == {"absent", "present", "uncertain", "not_mentioned"}
    assert {entry.key for entry in read_word_list("sections")} == {*Kind.__args__, "identifier"}
