"""Keyed pseudonyms: HMAC-SHA256 under the project's secret, truncated to 128 bits.

Without the secret a key can neither be traced back nor be made from a guessed identifier. Each kind of identifier has
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
    """Makes keys (32 hexadecimal digits) from identifiers; the identifiers themselves are not kept."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_SECRET_BYTES:
            raise SecretError(f"the secret is shorter than {MIN_SECRET_BYTES} bytes; {_ADVICE}")

    def patient(self, issuer: str, patient_id: str) -> str:
        """Patient number ``patient_id`` as given out by ``issuer``."""
        return self._key("patient", "number", issuer, patient_id)

    def patient_of_study(self, study: str) -> str:
        """Stand-in where no patient number is known: the study, given by its key."""
        return self._key("patient", "study", study)

    def study(self, uid: str) -> str:
        """Study Instance UID."""
        return self._key("study", "uid", uid)

    def named_study(self, issuer: str, patient_id: str, name: str) -> str:
        """Study that has a name within its patient (or, with an empty ``patient_id``, within the archive)."""
        return self._key("study", "name", issuer, patient_id, name)

    def study_of_film(self, film: str) -> str:
        """Stand-in where no study is known: the film, given by its key."""
        return self._key("study", "film", film)

    def series(self, uid: str) -> str:
        """Series Instance UID."""
        return self._key("series", "uid", uid)

    def series_of_film(self, film: str) -> str:
        """Stand-in where no series is known: the film, given by its key."""
        return self._key("series", "film", film)

    def film(self, sop_instance_uid: str) -> str:
        """A DICOM object, and its first frame; :func:`frame_key` makes the keys of the others."""
        return self._key("film", "uid", sop_instance_uid)

    def film_of_path(self, source: str, below: str) -> str:
        """An image file without identifiers: its path below the archive, with slashes, and the archive's origin."""
        return self._key("film", "path", source, below)

    def site(self, institution: str, station: str) -> str:
        """Institution and the station in it that made the film."""
        return self._key("site", institution, station)

    def study_day(self, patient: str, day: date) -> int:
        """Day number of a study, shifted by a secret number of days of the patient, given by its key.

        Differences within a patient are exact; the number alone says nothing of the date (DICOM PS3.15 option 113107,
        Retain Longitudinal Temporal Information with Modified Dates).
        """
        shift = int.from_bytes(self._digest("study_day", patient)[:8], "big") % SHIFT_DAYS
        return (day - _EPOCH).days + shift

    @property
    def fingerprint(self) -> str:
        """Tells whether two folders were made with the same secret, without saying which."""
        return self._key("fingerprint")

    def _key(self, domain: str, *fields: str) -> str:
        return self._digest(domain, *fields)[:KEY_BYTES].hex()

    def _digest(self, domain: str, *fields: str) -> bytes:
        parts = [part.encode("utf-8", "surrogateescape") for part in (domain, *fields)]
        # each part carries its length: ("ab", "c") and ("a", "bc") are different messages
        message = b"".join(struct.pack(">I", len(part)) + part for part in parts)
        return hmac.new(self.secret, message, hashlib.sha256).digest()


def read_secret(key_file: Path | None) -> bytes:
    """The secret from the environment variable MAE_RAD_KEY, else from ``key_file``, white space around it removed.

    Raises:
        SecretError: neither is there, the file cannot be read, or the secret is shorter than 16 bytes.
    """
    text = os.environ.get(SECRET_VARIABLE)
    if text is not None:
        secret, where = os.fsencode(text).strip(), f"the environment variable {SECRET_VARIABLE}"
    elif key_file is not None:
        try:
            secret, where = key_file.read_bytes().strip(), f"key_file {key_file}"
        except OSError as error:
            raise SecretError(f"key_file {key_file} cannot be read ({error.strerror}); {_ADVICE}") from None
    else:
        raise SecretError(f"no secret for pseudonyms: neither {SECRET_VARIABLE} nor key_file is set; {_ADVICE}")
    if len(secret) < MIN_SECRET_BYTES:
        raise SecretError(f"the secret in {where} is shorter than {MIN_SECRET_BYTES} bytes; {_ADVICE}")
    return secret


_ADVICE = f"make one once, keep it safe and use it always: export {SECRET_VARIABLE}=$(openssl rand -hex 32)"
