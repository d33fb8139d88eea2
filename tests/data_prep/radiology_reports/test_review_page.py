"""The page on which a person confirms labels: private, whole in itself, whatever a report holds."""

import re
from html.parser import HTMLParser

from data_prep.radiology_reports.mentions import find_mentions
from data_prep.radiology_reports.review_page import PER_CLASS, review_page

TEXTS = [
    "Radiusfraktur <script>alert('x')</script> & Platte in situ.",
    *(f"Keine Fraktur, Nummer {k}." for k in range(20)),
    "Unauffällig.",
]
STUDIES = [f"{k:032x}" for k in range(len(TEXTS))]


class Tags(HTMLParser):
    """What a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.articles: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if tag == "article":
            self.articles.append(dict(attrs))


def page() -> tuple[str, Tags]:
    text = review_page(STUDIES, TEXTS, [find_mentions(one, "de") for one in TEXTS])
    tags = Tags()
    tags.feed(text)
    return text, tags


def test_the_page_needs_nothing_and_runs_nothing_but_its_own() -> None:
    text, tags = page()
    assert tags.links == [] and tags.tags.count("script") == 1
    assert "default-src 'none'" in text and "connect-src" not in text
    assert not re.search(r"https?://", text)


def test_text_of_reports_is_quoted_not_run() -> None:
    text, _ = page()
    assert "alert('x')" not in text and "&lt;script&gt;" in text


def test_it_samples_each_finding_and_assertion_and_the_silent_reports() -> None:
    text, tags = page()
    classes = [(one["data-finding"], one["data-assertion"]) for one in tags.articles]
    assert {name: classes.count(name) for name in set(classes)} == {
        ("fracture", "present"): 1,
        ("fracture", "absent"): PER_CLASS,
        ("implant", "present"): 1,
        ("any", "not_mentioned"): 1,
    }
    assert text == page()[0]
    for one in tags.articles:
        told = TEXTS[STUDIES.index(str(one["data-study"]))]
        words = told[int(str(one["data-start"])) : int(str(one["data-stop"]))]
        assert words in ("Radiusfraktur", "Fraktur", "Platte", "") and (words or one["data-finding"] == "any")


def test_the_sample_stays_where_other_reports_stand_before_it() -> None:
    def chosen(texts: list[str], studies: list[str]) -> set[str | None]:
        tags = Tags()
        tags.feed(review_page(studies, texts, [find_mentions(one, "de") for one in texts]))
        return {one["data-study"] for one in tags.articles}

    more = ["Kein Nachweis von etwas.", "Herz normal groß."]
    assert chosen(TEXTS[:-1], STUDIES[:-1]) <= chosen(more + TEXTS[:-1], ["a" * 32, "b" * 32, *STUDIES[:-1]])


def test_verdicts_are_saved_as_a_table() -> None:
    text, _ = page()
    assert text.count('value="wrong"') == text.count('value="right"') == text.count("<article")
    assert 'link.download = "report_review.csv"' in text
