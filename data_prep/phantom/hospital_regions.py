"""The 14 regions of the hospital layout: folders, views, words of headers with their frequency, two scanners.

Folders and frequencies are those of a clinical archive of 640 thousand films: of what its headers say in each folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from data_prep.phantom.imaging.scanners import EXPLICIT_LE, IMPLICIT_LE, SCANNERS
from data_prep.phantom.random_draws import ArchiveKind

_GOLDEN = 0.6180339887498949
"""Step of a sequence that fills a range evenly at any length."""
_INVERTED_SHARE = 0.129


@dataclass(frozen=True)
class HospitalRegion:
    """A region of the archive.

    Attributes:
        folder: its folder.
        name: in tables of experts, and as the name of a class.
        views: of its films.
        words: Body Part Examined → films of the clinical archive in this folder.
    """

    folder: str
    name: str
    views: tuple[str, ...]
    words: Mapping[str, int]


_AP_LAT, _AP_OBLIQUE = ("AP", "LAT"), ("AP", "OBLIQUE")
REGIONS: dict[str, HospitalRegion] = {
    "KNEE": HospitalRegion("KNIE_NEU", "knee", _AP_LAT, {
        "KNEE": 142117, "KNIE": 23078, "KNIESCHEIBE": 1519, "LEG": 1424, "ANKLE": 700, "FEMUR": 94, "PATELLA": 86,
        "HUEFTE": 67, "PELVIS": 59, "CHEST": 57, "HIP": 48, "SPRUNGGELENK": 40, "HAND": 30, "TIBIA FIBULA": 26,
        "OBERSCHENKEL": 26, "BECKEN": 26, "THORAX": 17, "UNTERSCHENKEL": 10, "CALCANEUS": 9, "FINGER": 9,
        "THORAX BETT": 6, "ABDOMEN": 6, "KNIE KLEINKIND": 4, "JAW": 3, "BEIN": 2, "EXTREMITAT": 2, "KOPF": 2,
        "H_FTE": 1,
    }),
    "SHOULDER": HospitalRegion("SCHULTER_NEU", "shoulder", _AP_OBLIQUE, {
        "SHOULDER": 73292, "SCHULTER": 26935, "SCHULTERBLATT": 3698, "SCAPULA": 2594, "CHEST": 66, "THORAX": 52,
        "AC GELENK": 30, "PELVIS": 28, "ARM": 23, "HUMERUS": 18, "OBERARM": 15, "UNTERARM": 15, "THORAX BETT": 8,
        "LUNGE": 7, "AC JOINT": 2, "BECKEN": 2,
    }),
    "ANKLE": HospitalRegion("SG_NEU", "ankle", _AP_LAT, {
        "ANKLE": 51413, "SPRUNGGELENK": 27796, "FUSS": 552, "TIBIA FIBULA": 444, "FOOT": 437, "UNTERSCHENKEL": 432,
        "LEG": 243, "FERSENBEIN": 14, "FU_": 12, "CALCANEUS": 7,
    }),
    "ELBOW": HospitalRegion("ELLENBOGEN_NEU", "elbow", _AP_LAT, {
        "ELBOW": 48769, "ELLENBOGEN": 6783, "HAND": 81, "ARM": 73, "HUMERUS": 26, "OBERARM": 16,
    }),
    "FOOT": HospitalRegion("FUSS_NEU", "foot", _AP_OBLIQUE, {
        "FOOT": 48494, "FUSS": 3683, "FU_": 807, "ANKLE": 180, "SPRUNGGELENK": 66, "HAND": 32, "LEG": 12,
        "CALCANEUS": 9, "TOES": 6, "LSG": 3, "GESICHTSKNOCHEN": 2,
    }),
    "WRIST": HospitalRegion("HG_NEU", "wrist", _AP_LAT, {
        "HAND": 31784, "HANDGELENK": 9833, "WRIST": 1500, "ARM": 16, "FOREARM": 12, "UNTERARM": 7, "THUMB": 3,
    }),
    "HAND": HospitalRegion("HAND_NEU", "hand", ("PA", "OBLIQUE"), {"HAND": 41036, "FINGER": 19, "EXTREMITAT": 3}),
    "CSPINE": HospitalRegion("HWS_NEU", "cspine", _AP_LAT, {
        "CSPINE": 12943, "HWS": 11499, "C SPINE": 9847, "HWS DENS": 295, "TSPINE": 209, "CHEST": 53, "BWS": 48,
        "DENS": 17, "THORAX": 13, "T SPINE": 8, "ABDOMEN": 8, "CERVICOTHORACIC": 6, "LUNGE": 4,
    }),
    "CLAVICLE": HospitalRegion("CLAVICULA_NEU", "clavicle", _AP_OBLIQUE, {
        "CLAVICLE": 13618, "CLAVICULA": 5078, "SCHULTER": 673, "SHOULDER": 520, "SCHLUESSELBEIN": 492, "COCCYX": 6,
        "AC GELENK": 3, "AC JOINT": 2,
    }),
    "TSPINE": HospitalRegion("BWS_NEU", "tspine", _AP_LAT, {
        "TSPINE": 7667, "BWS": 5397, "T SPINE": 522, "LSPINE": 178, "LWS": 41, "T L SPINE": 14, "L SPINE": 11,
        "WIRBELSAULE": 6, "THORAX BETT": 5, "PORT L SPINE": 2,
    }),
    "LSPINE": HospitalRegion("LWS_NEU", "lspine", _AP_LAT, {
        "LWS": 4529, "LSPINE": 4293, "L SPINE": 1817, "PELVIS": 17, "WIRBELSAEULE": 8, "SACRUM": 3, "COCCYX": 2,
    }),
    "SKULL": HospitalRegion("DX_Schädel_Neu", "skull", _AP_LAT, {
        "SKULL": 1574, "SCHAEDEL": 867, "SCHADEL": 612, "GESICHTSKNOCHEN": 20, "ORBITA": 19, "NNH": 13,
        "NASENBEIN": 7, "ABDOMEN": 5, "SINUSES": 4, "NASAL BONES": 3, "UNTERKIEFER": 2, "JAW": 2,
    }),
    "RIB": HospitalRegion("DX_RIPPEN", "ribs", _AP_OBLIQUE, {"CHEST": 2417, "RIPPEN": 196, "RIBS": 47}),
    "SCAPULA": HospitalRegion("SCAPULA_NEU", "scapula", _AP_OBLIQUE, {
        "SHOULDER": 1067, "SCHULTERBLATT": 283, "SCAPULA": 178, "SCHULTER": 105,
    }),
}  # fmt: skip
"""Body part → region. Where the source counts a word for several folders together, films are shared out by guess."""

HOSPITAL = ArchiveKind(
    views={name: region.views for name, region in REGIONS.items()},
    scanners=(
        replace(SCANNERS[0], inverted_share=_INVERTED_SHARE, syntaxes=(EXPLICIT_LE, IMPLICIT_LE)),
        replace(
            SCANNERS[2], bits=15, function="LINEAR", slope=1.0, intercept=0.0, inverted_share=_INVERTED_SHARE,
            syntaxes=(EXPLICIT_LE,),
        ),
    ),
    in_turn=True,
)  # fmt: skip
"""The regions in turn, on scanners of 12 and of 15 bits."""


def header_word(seed: int, patient: int, study: int, body_part: str) -> str:
    """Draw what the header of a study says; the first studies of a region have the words in their proportions.

    Args:
        seed: of the archive.
        patient: number of the patient.
        study: number of the study of the patient.
        body_part: that the films show.
    """
    words, number = REGIONS[body_part].words, list(REGIONS).index(body_part)
    start = np.random.default_rng((seed, 201, number)).random()
    if study == 0:
        position = (start + _GOLDEN * (patient // len(REGIONS))) % 1.0
    else:
        position = np.random.default_rng((seed, patient, 202, study)).random()
    limits = np.cumsum(list(words.values())) / sum(words.values())
    return list(words)[int(np.searchsorted(limits, position, side="right"))]


def folder_of_study(seed: int, patient: int, study: int, body_part: str, misfiled: float) -> str:
    """Draw the region in whose folder a study lies: its own, or another one with the probability ``misfiled``.

    Args:
        seed: of the archive.
        patient: number of the patient.
        study: number of the study of the patient.
        body_part: that the films show.
        misfiled: probability of a wrong folder.

    Returns:
        A body part of REGIONS.
    """
    draw = np.random.default_rng((seed, patient, 203, study))
    if draw.random() >= misfiled:
        return body_part
    return str(draw.choice([name for name in REGIONS if name != body_part]))
