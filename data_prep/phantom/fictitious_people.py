"""Draws fictitious patients, staff and hospitals; family names are composed of syllables."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from data_prep.phantom.anatomy.patient_body import Anatomy

_FIRST = (
    "Bran",
    "Tor",
    "Vel",
    "Osk",
    "Grim",
    "Löv",
    "Kest",
    "Marn",
    "Quil",
    "Hath",
    "Zür",
    "Dovr",
    "Sten",
    "Pell",
    "Ryx",
    "Umb",
)
_MIDDLE = ("da", "el", "ivo", "un", "ara", "osch", "ette", "ymi")
_LAST = ("lin", "vark", "stade", "moor", "quist", "berd", "zzoni", "thwaite", "ßner", "kova")
_GIVEN = {
    "F": ("Ellorine", "Maristha", "Jovelle", "Thessaly", "Brünna", "Wilhelmara", "Odessine", "Karinthe"),
    "M": ("Aldemar", "Torvulf", "Bastiano", "Éric-Odo", "Ludomir", "Hartwigo", "Corvinus", "Jasperin"),
}
_STREETS = ("Kornmarktgasse", "Old Tannery Lane", "Rue des Cygnes-Noirs", "Brackwater Road", "Am Siebenbrunnen")
_TOWNS = ("Oberwelsingen", "Port Marlowe", "Saint-Avrille", "Nordhafenau", "Little Quenbury")
_HOSPITALS = ("Welsingen District Hospital", "Marlowe Harbour Clinic", "Klinikum Nordhafenau Süd")
_FIRST_DAY = date(2014, 3, 3)


@dataclass(frozen=True)
class Person:
    """Identity of a patient; names are DICOM person names (PS3.5 section 6.2), dates YYYYMMDD."""

    name: str
    birth_name: str
    mother: str
    patient_id: str
    other_id: str
    issuer: str
    birth_date: str
    address: str
    phone: str
    comment: str


@dataclass(frozen=True)
class Visit:
    """Identifying facts of a study: date (YYYYMMDD), time, institution and staff."""

    accession: str
    study_id: str
    date: str
    time: str
    institution: str
    institution_address: str
    department: str
    station: str
    serial: str
    referring: str
    performing: str
    operator: str
    reading: str
    request: str


def person(seed: int, index: int, anatomy: Anatomy, first_day: int) -> Person:
    """Draw the identity of a patient; family names of 1280 consecutive patients differ.

    Args:
        seed: seed of the archive.
        index: number of the patient.
        anatomy: anatomy of the patient, for age and sex.
        first_day: day of the first study, see :func:`calendar_day`.
    """
    generator = np.random.default_rng((seed, index, 101))
    family = _family_name((index * 631 + seed) % (len(_FIRST) * len(_MIDDLE) * len(_LAST)))
    birth = calendar_day(first_day) - timedelta(days=anatomy.age_years * 365 + 180 + int(generator.integers(-90, 90)))
    town = int(generator.integers(len(_TOWNS)))
    phone = f"+49 555 {generator.integers(10**6, 10**7)}"
    return Person(
        name=f"{family}^{generator.choice(_GIVEN[anatomy.sex])}",
        birth_name=f"{_family_name(int(generator.integers(1280)))}-{family}",
        mother=f"{_family_name(int(generator.integers(1280)))}^{generator.choice(_GIVEN['F'])}",
        patient_id=f"PX{seed % 1000:03d}{index:05d}{generator.integers(100, 999)}",
        other_id=f"INS-{generator.integers(10**8, 10**9)}",
        issuer=f"ADT-{_HOSPITALS[index % 3].split()[0].upper()}",
        birth_date=birth.strftime("%Y%m%d"),
        address=f"{_STREETS[town]} {generator.integers(1, 180)}, {generator.integers(10000, 99999)} {_TOWNS[town]}",
        phone=phone,
        comment=f"Relatives of {family} to be called under {phone} before discharge",
    )


def visit(seed: int, index: int, study: int, day: int, look: int, sex: str) -> Visit:
    """Draw the identifying facts of a study.

    Args:
        seed: seed of the archive.
        index: number of the patient.
        study: number of the study of the patient.
        day: day of the study, see :func:`calendar_day`.
        look: number of the scanner.
        sex: F or M.
    """
    generator = np.random.default_rng((seed, index, 102, study))
    staff = [
        f"{_family_name(int(k))}^{generator.choice(_GIVEN['F' if k % 2 else 'M'])}^^Dr."
        for k in generator.integers(0, 1280, 4)
    ]
    hospital = int(generator.integers(len(_HOSPITALS)))
    hour, minute, second, fraction = (
        int(generator.integers(*limits)) for limits in ((7, 20), (0, 60), (0, 60), (10**5, 10**6))
    )
    return Visit(
        accession=f"A{generator.integers(10**9, 10**10)}",
        study_id=f"ST{generator.integers(10**6, 10**7)}",
        date=calendar_day(day).strftime("%Y%m%d"),
        time=f"{hour:02d}{minute:02d}{second:02d}.{fraction}",
        institution=_HOSPITALS[hospital],
        institution_address=f"{_STREETS[hospital]} 1, {_TOWNS[hospital]}",
        department=f"Radiology {_TOWNS[hospital]} West Wing",
        station=f"XR{hospital}{look}ROOM{generator.integers(1, 5)}B",
        serial=f"SN-{look}-{40960 + 7 * hospital}{look}77",
        referring=staff[0],
        performing=staff[1],
        operator=staff[2],
        reading=staff[3],
        request=f"{'Mrs' if sex == 'F' else 'Mr'} fell at home in {_TOWNS[hospital]}, pain",
    )


def calendar_day(day: int) -> date:
    """Convert a day, counted from the first day of the archive, to a date."""
    return _FIRST_DAY + timedelta(days=day)


def _family_name(number: int) -> str:
    first, remainder = divmod(number, len(_MIDDLE) * len(_LAST))
    middle, last = divmod(remainder, len(_LAST))
    return _FIRST[first] + _MIDDLE[middle] + _LAST[last]
