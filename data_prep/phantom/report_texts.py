"""A report for every study of the synthetic archive, German or English, with known truth and the usual traps.

A radiologist tells what is planted in any film of the study, sometimes doubts it, seldom misses it; denies what is not
there or passes over it; speaks of the other side, of what was removed, and repeats the question that was asked. All
draws are of a stream of their own, so that films do not change.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from data_prep.phantom.random_draws import StudyDraw
from data_prep.phantom.report_sentences import BONES, FRACTURE, KINDS, OBJECTS, PARTS, SIDES

DOUBTED, MISSED, DENIED, OTHER_SIDE, REMOVED = 0.12, 0.06, 0.6, 0.25, 0.1
"""Shares: of what is planted; of what is not; of studies of a side; of studies without an implant."""


@dataclass(frozen=True)
class StudyReport:
    """A report and what its words say: finding → present, absent, uncertain; what is not there is not mentioned."""

    language: str
    text: str
    says: dict[str, str]


def draw_report(seed: int, patient: int, study: StudyDraw, fracture: bool, objects: Iterable[str]) -> StudyReport:
    """The report of a study of whose films any shows a ``fracture``, and the kinds of planted ``objects``."""
    draw = np.random.default_rng((seed, patient, 103, study.index))
    language = "de" if draw.random() < 0.5 else "en"
    sided = study.body_part != "CHEST"
    words = {"bone": BONES[language][study.body_part]}
    if sided:
        words["other"] = SIDES[language]["R" if study.side == "L" else "L"].capitalize()
        words["other"] = words["other"] if language == "de" else words["other"].lower()
    says: dict[str, str] = {}
    value = _fracture_value(draw, fracture)
    told = [_one(draw, FRACTURE[language][value]).format(**words)]
    if value != "not_mentioned":
        says["fracture"] = value
    if sided and draw.random() < OTHER_SIDE:
        told.append(_one(draw, FRACTURE[language]["other_side"]).format(**words))
    told += _objects(draw, language, sorted(set(objects)), says)
    question = _one(draw, FRACTURE[language]["question"]).format(**words)
    order = draw.permutation(len(told))
    findings = " ".join(told[k] for k in order)
    side = SIDES[language][study.side] if sided else ""
    text = _LAYOUT[language].format(
        part=PARTS[language][study.body_part], side=f" {side}" if side else "", question=question, findings=findings
    )
    return StudyReport(language, text, says)


def _fracture_value(draw: np.random.Generator, fracture: bool) -> str:
    chance = draw.random()
    if not fracture:
        return "absent" if chance < DENIED else "not_mentioned"
    if chance < DOUBTED:
        return "uncertain"
    return "not_mentioned" if chance < DOUBTED + MISSED else "present"


def _objects(draw: np.random.Generator, language: str, kinds: list[str], says: dict[str, str]) -> list[str]:
    """Sentences about foreign objects; enters what they say."""
    told = []
    for kind in kinds:
        if draw.random() >= MISSED:
            told.append(_one(draw, OBJECTS[language][kind]))
            says[KINDS[kind]] = "present"
    for denial, share in (("removed", REMOVED), ("absent", 0.0 if kinds else DENIED)):
        finding = KINDS[denial]
        if draw.random() < share and not any(KINDS[kind] == finding for kind in kinds):
            told.append(_one(draw, OBJECTS[language][denial]))
            says[finding] = "absent"
    return told


def _one(draw: np.random.Generator, sentences: tuple[str, ...]) -> str:
    return sentences[int(draw.integers(len(sentences)))]


_LAYOUT = {
    "de": "Untersuchung: Röntgen {part}{side}\n\nKlinische Angaben: {question}\n\nBefund:\n{findings}\n",
    "en": "EXAMINATION: Radiographs of the{side} {part}\n\nINDICATION: {question}\n\nFINDINGS: {findings}\n",
}
