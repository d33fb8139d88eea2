"""Keyed pseudonyms: HMAC-SHA256 under the project's secret, truncated to 128 bits.

Without the secret, a key can neither be reversed nor be computed from a guessed identifier. Each kind of identifier has
its own domain, so that equal texts of two kinds give unrelated keys.
"""

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from data_prep.errors import SecretError
from data_prep.shard_format.frame_key import KEY_BYTES

SECRET_VARIABLE = "MAE_RAD_KEY"

MIN_SECRET_BYTES = 16

SHIFT_DAYS = 36_524
"""Days in a century: the range of the shift that hides a patient's dates."""

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Pseudonyms:
    """Makes keys (32 hexadecimal digits) from identifiers; the identifiers are not stored."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_SECRET_BYTES:
            raise SecretError(f"the secret is shorter than {MIN_SECRET_BYTES} bytes. {_HOW_TO_MAKE_A_SECRET}")

    def patient(self, issuer: str, patient_id: str) -> str:
        """Key of the patient with number ``patient_id``, assigned by ``issuer``."""
        return self._key("patient", "number", issuer, patient_id)

    def patient_of_study(self, study: str) -> str:
        """Key of the unknown patient of a study, from the key of the study."""
        return self._key("patient", "study", study)

    def study(self, uid: str) -> str:
        """Key of a study, from its Study Instance UID."""
        return self._key("study", "uid", uid)

    def named_study(self, issuer: str, patient_id: str, name: str) -> str:
        """Key of a study with a name that is unique for its patient (for an empty ``patient_id``: in the archive)."""
        return self._key("study", "name", issuer, patient_id, name)

    def study_of_film(self, film: str) -> str:
        """Key of the unknown study of a film, from the key of the film."""
        return self._key("study", "film", film)

    def series(self, uid: str) -> str:
        """Key of a series, from its Series Instance UID."""
        return self._key("series", "uid", uid)

    def series_of_film(self, film: str) -> str:
        """Key of the unknown series of a film, from the key of the film."""
        return self._key("series", "film", film)

    def film(self, sop_instance_uid: str) -> str:
        """Key of a DICOM object and of its first frame; :func:`frame_key` makes the keys of the other frames."""
        return self._key("film", "uid", sop_instance_uid)

    def film_of_path(self, source: str, below: str) -> str:
        """Key of a PNG or JPEG, from its path relative to the archive, with slashes, and the archive's ``source``."""
        return self._key("film", "path", source, below)

    def site(self, institution: str, station: str) -> str:
        """Key of the institution and of the station in it that made the film."""
        return self._key("site", institution, station)

    def study_day(self, patient: str, day: date) -> int:
        """Day number of a study, shifted by a secret number of days per patient.

        Differences between studies of a patient are exact; the number alone does not reveal the date (DICOM PS3.15
        option 113107, Retain Longitudinal Temporal Information with Modified Dates).

        Args:
            patient: key of the patient.
            day: date of the study.

        Returns:
            Days since 1970-01-01 plus a shift in [0, SHIFT_DAYS).
        """
        shift = int.from_bytes(self._digest("study_day", patient)[:8], "big") % SHIFT_DAYS
        return (day - _EPOCH).days + shift

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the secret: equal for two folders made with the same secret, and does not reveal it."""
        return self._key("fingerprint")

    def _key(self, domain: str, *fields: str) -> str:
        return self._digest(domain, *fields)[:KEY_BYTES].hex()

    def _digest(self, domain: str, *fields: str) -> bytes:
        parts = [part.encode("utf-8", "surrogateescape") for part in (domain, *fields)]
        # each part carries its length: ("ab", "c") and ("a", "bc") are different messages
        message = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        return hmac.new(self.secret, message, hashlib.sha256).digest()


def read_secret(key_file: Path | None) -> bytes:
    """Read the secret from the environment variable MAE_RAD_KEY, else from ``key_file``; white space is stripped.

    Raises:
        SecretError: neither is set, the file cannot be read, or the secret is shorter than 16 bytes.
    """
    text = os.environ.get(SECRET_VARIABLE)
    if text is not None:
        secret, origin = os.fsencode(text).strip(), f"the environment variable {SECRET_VARIABLE}"
    elif key_file is not None:
        try:
            secret, origin = key_file.read_bytes().strip(), f"key_file {key_file}"
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
