"""Fictitious people, staff and hospitals. Every name is put together from syllables; none is taken from anywhere."""

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
    """A patient as the registration desk knows them; ``name`` is a DICOM person name."""

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
    """What a study's header says of the day, the place and the staff."""

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
    """Patient ``index``: the family name differs from that of every other of the next 1280 patients."""
    draw = np.random.default_rng((seed, index, 101))
    family = _family((index * 631 + seed) % (len(_FIRST) * len(_MIDDLE) * len(_LAST)))
    birth = visit_day(first_day) - timedelta(days=anatomy.age_years * 365 + 180 + int(draw.integers(-90, 90)))
    home = int(draw.integers(len(_TOWNS)))
    phone = f"+49 555 {draw.integers(10**6, 10**7)}"
    return Person(
        name=f"{family}^{draw.choice(_GIVEN[anatomy.sex])}",
        birth_name=f"{_family(int(draw.integers(1280)))}-{family}",
        mother=f"{_family(int(draw.integers(1280)))}^{draw.choice(_GIVEN['F'])}",
        patient_id=f"PX{seed % 1000:03d}{index:05d}{draw.integers(100, 999)}",
        other_id=f"INS-{draw.integers(10**8, 10**9)}",
        issuer=f"ADT-{_HOSPITALS[index % 3].split()[0].upper()}",
        birth_date=birth.strftime("%Y%m%d"),
        address=f"{_STREETS[home]} {draw.integers(1, 180)}, {draw.integers(10000, 99999)} {_TOWNS[home]}",
        phone=phone,
        comment=f"Relatives of {family} to be called under {phone} before discharge",
    )


def visit(seed: int, index: int, study: int, day: int, look: int, sex: str) -> Visit:
    """Study ``study`` of patient ``index`` on scanner ``look``."""
    draw = np.random.default_rng((seed, index, 102, study))
    staff = [f"{_family(int(k))}^{draw.choice(_GIVEN['F' if k % 2 else 'M'])}^^Dr." for k in draw.integers(0, 1280, 4)]
    place = int(draw.integers(len(_HOSPITALS)))
    hour, minute, second, part = (int(draw.integers(*limits)) for limits in ((7, 20), (0, 60), (0, 60), (10**5, 10**6)))
    return Visit(
        accession=f"A{draw.integers(10**9, 10**10)}",
        study_id=f"ST{draw.integers(10**6, 10**7)}",
        date=visit_day(day).strftime("%Y%m%d"),
        time=f"{hour:02d}{minute:02d}{second:02d}.{part}",
        institution=_HOSPITALS[place],
        institution_address=f"{_STREETS[place]} 1, {_TOWNS[place]}",
        department=f"Radiology {_TOWNS[place]} West Wing",
        station=f"XR{place}{look}ROOM{draw.integers(1, 5)}B",
        serial=f"SN-{look}-{40960 + 7 * place}{look}77",
        referring=staff[0],
        performing=staff[1],
        operator=staff[2],
        reading=staff[3],
        request=f"{'Mrs' if sex == 'F' else 'Mr'} fell at home in {_TOWNS[place]}, pain",
    )


def visit_day(day: int) -> date:
    """The calendar day of the archive's day ``day``."""
    return _FIRST_DAY + timedelta(days=day)


def _family(number: int) -> str:
    first, rest = divmod(number, len(_MIDDLE) * len(_LAST))
    middle, last = divmod(rest, len(_LAST))
    return _FIRST[first] + _MIDDLE[middle] + _LAST[last]
