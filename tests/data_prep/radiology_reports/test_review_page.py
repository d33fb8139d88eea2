"""The review page is one file without external resources, and escapes the text of reports."""

import re
from html.parser import HTMLParser

from data_prep.radiology_reports.mentions import find_mentions
from data_prep.radiology_reports.review_page import MENTIONS_PER_CLASS, review_page

TEXTS = [
    "Radiusfraktur <script>alert('x')</script> & Platte in situ.",
    *(f"Keine Fraktur, Nummer {k}." for k in range(20)),
    "Unauffällig.",
]
STUDIES = [f"{k:032x}" for k in range(len(TEXTS))]


class Tags(HTMLParser):
    """Tags, links and articles of a page."""

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


def test_the_page_loads_no_resource_and_runs_only_its_own_script() -> None:
    text, tags = page()
    assert tags.links == [] and tags.tags.count("script") == 1
    assert "default-src 'none'" in text and "connect-src" not in text
    assert not re.search(r"https?://", text)


def test_text_of_reports_is_escaped() -> None:
    text, _ = page()
    assert "alert('x')" not in text and "&lt;script&gt;" in text


def test_it_samples_each_finding_and_assertion_and_reports_without_mentions() -> None:
    text, tags = page()
    classes = [(one["data-finding"], one["data-assertion"]) for one in tags.articles]
    assert {name: classes.count(name) for name in set(classes)} == {
        ("fracture", "present"): 1,
        ("fracture", "absent"): MENTIONS_PER_CLASS,
        ("implant", "present"): 1,
        ("any", "not_mentioned"): 1,
    }
    assert text == page()[0]
    for one in tags.articles:
        text_of_study = TEXTS[STUDIES.index(str(one["data-study"]))]
        quote = text_of_study[int(str(one["data-start"])) : int(str(one["data-stop"]))]
        assert quote in ("Radiusfraktur", "Fraktur", "Platte", "") and (quote or one["data-finding"] == "any")


def test_the_sample_does_not_depend_on_preceding_reports() -> None:
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
