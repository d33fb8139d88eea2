"""Compute pseudonyms of identifiers: HMAC-SHA256 with the secret of the project, truncated to 128 bits.

A pseudonym is called a key (the secret is not). Without the secret, a key can neither be reversed nor be computed from
a guessed identifier. The kind of identifier (patient, study, …) enters the HMAC as a domain, so that equal texts of two
kinds give unrelated keys.
"""

import hashlib
import hmac
import logging
import os
import re
import stat
import struct
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from data_prep.bounded_reading import read_bounded
from data_prep.errors import SecretError
from data_prep.runtime.secret_environment import SECRET_VARIABLE
from data_prep.shard_format.frame_key import KEY_BYTES

MIN_SECRET_BYTES = 16
_MAX_SECRET_BYTES = 2**12
_MIN_HEX_DIGITS = 8
"""Different digits that 32 random ones have (all but one time in ten million)."""
_MIN_CHARACTERS, _MIN_DIFFERENT = 22, 12

SHIFT_RANGE_DAYS = 36_524
"""Range of the random shift that hides the dates of a patient: the days of a century."""

_EPOCH = date(1970, 1, 1)
_PLACEHOLDERS = frozenset(
    {
        *("anon", "anonym", "anonymous", "anonymized", "anonymised", "anonymisiert", "deidentified"),
        *("pseudonym", "unknown", "unbekannt", "unbek", "unk", "na", "nan", "nil", "none", "null", "empty"),
        *("leer", "no", "noid", "nopatientid", "patient", "patientid", "pid", "id", "test", "tester", "dummy"),
        *("default", "tbd", "notavailable", "notapplicable", "notknown", "missing", "undefined", "blank"),
    }
)
"""Patient numbers, in small letters and digits only, that stand for no patient."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pseudonyms:
    """Computes keys of 32 hexadecimal digits from identifiers, which are not stored.

    Attributes:
        secret: secret of the project, at least MIN_SECRET_BYTES bytes.

    Raises:
        SecretError: the secret is shorter.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_SECRET_BYTES:
            raise SecretError(f"the secret is shorter than {MIN_SECRET_BYTES} bytes. {_HOW_TO_MAKE_A_SECRET}")

    def patient(self, issuer: str, patient_id: str) -> str:
        """Key of the patient with number ``patient_id``, assigned by ``issuer``."""
        return self._key("patient", "number", issuer, patient_id)

    def source(self, source: str) -> str:
        """Key of the setting ``source``, by which a later scan with another one is told."""
        return self._key("source", source)

    def patient_of_study(self, study: str) -> str:
        """Key of a patient without a known number, from the key of the study."""
        return self._key("patient", "study", study)

    def study(self, uid: str) -> str:
        """Key of a study, from its Study Instance UID."""
        return self._key("study", "uid", uid)

    def study_of_name(self, issuer: str, patient_id: str, name: str) -> str:
        """Key of a study without a UID.

        Args:
            issuer: issuer of the patient number.
            patient_id: number of the patient; empty if unknown.
            name: name of the study, unique for the patient, or in the archive if ``patient_id`` is empty.
        """
        return self._key("study", "name", issuer, patient_id, name)

    def study_of_film(self, film: str) -> str:
        """Key of a study without UID and name, from the key of its only film."""
        return self._key("study", "film", film)

    def series(self, uid: str) -> str:
        """Key of a series, from its Series Instance UID."""
        return self._key("series", "uid", uid)

    def series_of_film(self, film: str) -> str:
        """Key of a series without UID, from the key of its only film."""
        return self._key("series", "film", film)

    def film(self, sop_instance_uid: str) -> str:
        """Key of a DICOM object and of its first frame; :func:`frame_key` makes the keys of the other frames."""
        return self._key("film", "uid", sop_instance_uid)

    def film_of_path(self, source: str, relative_path: str) -> str:
        """Key of a PNG or JPEG file.

        Args:
            source: setting ``source`` of the scan, which names the hospital.
            relative_path: path relative to the archive, with slashes.
        """
        return self._key("film", "path", source, relative_path)

    def site(self, institution: str, station: str) -> str:
        """Key of the site of a film: its institution and the station (device) in it."""
        return self._key("site", institution, station)

    def study_day(self, patient: str, day: date) -> int:
        """Return the day of a study, shifted by a secret number of days that is the same for all studies of a patient.

        Differences between studies of a patient are exact; the number alone does not reveal the date (DICOM PS3.15
        option 113107, Retain Longitudinal Temporal Information with Modified Dates).

        Args:
            patient: key of the patient.
            day: date of the study.

        Returns:
            Days since 1970-01-01 plus a shift in [0, SHIFT_RANGE_DAYS).
        """
        shift = int.from_bytes(self._digest("study_day", patient)[:8], "big") % SHIFT_RANGE_DAYS
        return (day - _EPOCH).days + shift

    @property
    def digest_key(self) -> bytes:
        """Key of the digests in the linkage table, see :mod:`data_prep.deidentify.person_digests`."""
        return self._digest("person digests")

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the secret, to check that two folders have the same one; it does not reveal the secret."""
        return self._key("fingerprint")

    def _key(self, domain: str, *fields: str) -> str:
        return self._digest(domain, *fields)[:KEY_BYTES].hex()

    def _digest(self, domain: str, *fields: str) -> bytes:
        parts = [part.encode("utf-8", "surrogateescape") for part in (domain, *fields)]
        # each part carries its length: ("ab", "c") and ("a", "bc") are different messages
        message = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        return hmac.new(self.secret, message, hashlib.sha256).digest()


def canonical_number(patient_id: str) -> str:
    """Fold what systems change in a patient number: case, blanks and leading zeros.

    ``0000007``, `` 7`` and ``7`` are one patient; so are ``AB007`` and ``ab007``.
    """
    folded = "".join(patient_id.split()).casefold()
    return folded.lstrip("0") or folded[:1]


def is_placeholder(patient_id: str) -> bool:
    """Whether a patient number stands for no patient, such as ``ANONYMOUS`` or ``000000``."""
    folded = re.sub(r"[\W_]+", "", patient_id.casefold())
    return re.fullmatch("0*|x{2,}", folded) is not None or folded in _PLACEHOLDERS


def check_secret(secret: bytes, *, begun: bool) -> None:
    """Refuse a secret that can be guessed: with it, every key falls to a list of patient numbers.

    Args:
        secret: from :func:`read_secret`.
        begun: a folder was begun with it, which goes on with a warning.

    Raises:
        SecretError: it is no 32 hexadecimal digits, and has fewer than 22 characters, of which 12 differ.
    """
    text = secret.decode("latin-1")
    is_hex = re.fullmatch(r"[0-9a-fA-F]{32,}", text) is not None and len(set(text.lower())) >= _MIN_HEX_DIGITS
    if is_hex or (len(text) >= _MIN_CHARACTERS and len(set(text)) >= _MIN_DIFFERENT):
        return
    weakness = (
        f"the secret can be guessed: it needs 32 hexadecimal digits, or {_MIN_CHARACTERS} characters of which"
        f" {_MIN_DIFFERENT} differ"
    )
    if not begun:
        raise SecretError(f"{weakness}. {_HOW_TO_MAKE_A_SECRET}")
    _log.warning(
        "%s. This folder goes on with it; do not share more of it, and begin the next one with another", weakness
    )


def read_secret(key_file: Path | None) -> bytes:
    """Read the secret from the environment variable MAE_RAD_KEY, else from ``key_file``; white space is stripped.

    Args:
        key_file: file with the secret; None if none is set.

    Returns:
        The secret, at least MIN_SECRET_BYTES bytes.

    Raises:
        SecretError: neither is set, the file cannot be read, or the secret is shorter than 16 bytes.
    """
    text = os.environ.get(SECRET_VARIABLE)
    if text is not None:
        secret, origin = os.fsencode(text).strip(), f"the environment variable {SECRET_VARIABLE}"
    elif key_file is not None:
        try:
            if key_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                _log.warning("key_file %s may be read or written by other users: chmod 600", key_file)
            secret, origin = read_bounded(key_file, _MAX_SECRET_BYTES).strip(), f"key_file {key_file}"
        except OSError as error:
            raise SecretError(
                f"key_file {key_file} cannot be read ({error.strerror}). {_HOW_TO_MAKE_A_SECRET}"
            ) from None
    else:
        raise SecretError(
            f"the secret for pseudonyms is missing: neither {SECRET_VARIABLE} nor key_file is set."
            f" {_HOW_TO_MAKE_A_SECRET}"
        )
    if len(secret) < MIN_SECRET_BYTES:
        raise SecretError(f"the secret in {origin} is shorter than {MIN_SECRET_BYTES} bytes. {_HOW_TO_MAKE_A_SECRET}")
    return secret


_HOW_TO_MAKE_A_SECRET = (
    f"Make one per project, keep it safe and use it for all scans: export {SECRET_VARIABLE}=$(openssl rand -hex 32)"
)
