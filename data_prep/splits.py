"""Which split a patient belongs to: one pure function, the same for every film of the patient, for good."""

import hashlib

from data_prep.shard_format import Split


def split_of(patient_key: str, seed: int, val: float, test: float, known: bool) -> Split:
    """The split of a patient by hash: new patients in the archive move nobody.

    Args:
        patient_key: keyed hash of the patient.
        seed: another seed draws other patients.
        val: fraction of the known patients.
        test: fraction of the known patients; changing ``val`` does not change who is in test.
        known: False where the patient's identity is only guessed from the study; such films always train, since another
            study of the same person could stand in another split.
    """
    if not known:
        return "train"
    digest = hashlib.sha256(f"split:{seed}:{patient_key}".encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    if draw < test:
        return "test"
    return "val" if draw < test + val else "train"
