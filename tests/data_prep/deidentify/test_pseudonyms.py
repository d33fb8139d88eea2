"""Pseudonyms: keyed, separated by kind, and dates that reveal only their differences."""

import hashlib
import hmac
import os
import secrets
from datetime import date, timedelta
from pathlib import Path

import pytest

from data_prep.deidentify.pseudonyms import SHIFT_RANGE_DAYS, Pseudonyms, check_secret, read_secret
from data_prep.errors import SecretError
from data_prep.planning.splits import draw_split
from data_prep.runtime.secret_environment import without_secret
from data_prep.shard_format.frame_key import frame_key

KEYS = Pseudonyms(b"a secret of the tests")
OTHER = Pseudonyms(b"another secret of the tests")


def all_keys(keys: Pseudonyms, text: str) -> list[str]:
    return [
        keys.patient("", text),
        keys.patient(text, ""),
        keys.patient_of_study(text),
        keys.study(text),
        keys.study_of_name("", "", text),
        keys.study_of_name("", text, ""),
        keys.study_of_film(text),
        keys.series(text),
        keys.series_of_film(text),
        keys.film(text),
        frame_key(keys.film(text), 1),
        frame_key(keys.film(text), 2),
        keys.film_of_path("", text),
        keys.site(text, ""),
        keys.site("", text),
        keys.fingerprint,
    ]


def test_one_text_gives_unrelated_keys_in_every_domain() -> None:
    keys = all_keys(KEYS, "1.2.3")
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


def test_keys_are_the_truncated_hmac_of_length_prefixed_fields() -> None:
    fields = (b"patient", b"number", b"issuer", "Müller".encode())
    message = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    expected = hmac.new(KEYS.secret, message, hashlib.sha256).hexdigest()[:32]
    assert KEYS.patient("issuer", "Müller") == expected


def test_fields_are_separated_in_the_message() -> None:
    assert KEYS.patient("ab", "c") != KEYS.patient("a", "bc")
    assert KEYS.site("ab", "c") != KEYS.site("a", "bc")


def test_two_secrets_give_unrelated_keys() -> None:
    assert not set(all_keys(KEYS, "1.2.3")) & set(all_keys(OTHER, "1.2.3"))


def test_the_secret_is_in_no_representation() -> None:
    assert "secret of" not in repr(KEYS) + str(KEYS)
    assert KEYS.secret.hex() not in repr(KEYS)


def test_differences_of_study_days_are_exact_within_a_patient_and_lost_between_patients() -> None:
    first, later = date(2019, 2, 27), date(2021, 11, 3)
    patient = KEYS.patient("", "1")
    assert KEYS.study_day(patient, later) - KEYS.study_day(patient, first) == (later - first).days
    shifts = [KEYS.study_day(KEYS.patient("", str(number)), date(1970, 1, 1)) for number in range(400)]
    assert min(shifts) >= 0 and max(shifts) < SHIFT_RANGE_DAYS
    assert len(set(shifts)) > 390
    assert abs(sum(shifts) / len(shifts) - SHIFT_RANGE_DAYS / 2) < 4 * SHIFT_RANGE_DAYS / (12 * len(shifts)) ** 0.5
    assert KEYS.study_day(patient, first) != OTHER.study_day(patient, first)
    assert KEYS.study_day(patient, date(1969, 1, 1) + timedelta(365)) == KEYS.study_day(patient, date(1970, 1, 1))


def test_the_environment_variable_precedes_the_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("  the secret in the file\n")
    monkeypatch.delenv("MAE_RAD_KEY", raising=False)
    assert read_secret(file) == b"the secret in the file"
    monkeypatch.setenv("MAE_RAD_KEY", "the secret in the environment\n")
    assert read_secret(file) == b"the secret in the environment"


@pytest.mark.parametrize("text", ["", "   \n", "too short", " 15 bytes only. "])
def test_a_short_secret_is_refused_and_not_printed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    monkeypatch.delenv("MAE_RAD_KEY", raising=False)
    with pytest.raises(SecretError, match="shorter than 16 bytes") as from_file:
        read_secret(file)
    monkeypatch.setenv("MAE_RAD_KEY", text)
    with pytest.raises(SecretError, match="MAE_RAD_KEY is shorter") as from_environment:
        read_secret(None)
    if text.strip():
        assert text.strip() not in str(from_file.value) + str(from_environment.value)


def test_without_a_secret_the_error_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAE_RAD_KEY", raising=False)
    for file in (None, tmp_path / "absent"):
        with pytest.raises(SecretError, match="openssl rand -hex 32"):
            read_secret(file)


def test_splits_hold_their_fractions_and_depend_on_seed_and_patient_only() -> None:
    patients = [KEYS.patient("", str(number)) for number in range(4000)]
    drawn = [draw_split(patient, 0, 0.1, 0.2, known=True) for patient in patients]
    assert drawn == [draw_split(patient, 0, 0.1, 0.2, known=True) for patient in patients]
    for split, fraction in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        deviation = (fraction * (1 - fraction) / len(patients)) ** 0.5
        assert abs(drawn.count(split) / len(patients) - fraction) < 4 * deviation
    assert drawn != [draw_split(patient, 1, 0.1, 0.2, known=True) for patient in patients]


def test_another_val_fraction_moves_nobody_in_test() -> None:
    patients = [KEYS.patient("", str(number)) for number in range(500)]
    test_of = [{p for p in patients if draw_split(p, 0, val, 0.2, known=True) == "test"} for val in (0.0, 0.1, 0.5)]
    assert test_of[0] == test_of[1] == test_of[2]


def test_unknown_patients_always_train() -> None:
    assert {draw_split(KEYS.patient("", str(n)), 0, 0.45, 0.45, known=False) for n in range(200)} == {"train"}


@pytest.mark.parametrize(
    "weak",
    [
        *("aaaaaaaaaaaaaaaa", "0000000000000000", "passwordpassword", "1234567890123456", "mae_rad_mae_rad_"),
        *("changeme changeme", "0" * 64, "0123456789abcdef", "01" * 16, "secretsecretsecretsecret"),
    ],
)
def test_a_secret_that_can_be_guessed_begins_no_folder(weak: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SecretError, match="the secret can be guessed"):
        check_secret(weak.encode(), begun=False)
    check_secret(weak.encode(), begun=True)
    assert "the secret can be guessed" in caplog.text and weak not in caplog.text


@pytest.mark.parametrize(
    "strong", ["0f1e2d3c4b5a69788796a5b4c3d2e1f0", "9C" + "A7F0" * 15 + "3B", "a phrase of quite some words"]
)
def test_a_random_secret_or_a_long_phrase_begins_a_folder(strong: str) -> None:
    check_secret(strong.encode(), begun=False)


def test_a_key_file_that_others_may_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MAE_RAD_KEY", raising=False)
    path = tmp_path / "key"
    path.write_text(secrets.token_hex(16))
    path.chmod(0o600)
    read_secret(path)
    assert not caplog.text
    path.chmod(0o644)
    read_secret(path)
    assert "chmod 600" in caplog.text


def test_processes_that_need_no_secret_do_not_inherit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "a random secret of this test")
    with without_secret():
        assert "MAE_RAD_KEY" not in os.environ
    assert os.environ["MAE_RAD_KEY"] == "a random secret of this test"
