"""Shards are readable without this project: by webdataset and common codecs."""

import json
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.errors import ShardFormatError
from data_prep.shard_format.apply_display import apply_display
from data_prep.shard_format.content_mask_bits import mask_shape, pack_mask, unpack_mask
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.film_codec import decode_film, encode_film
from data_prep.shard_format.folder_layout import FORMAT_VERSION
from data_prep.shard_format.index_schema import INDEX_SCHEMA, LATER_COLUMNS
from data_prep.shard_format.sidecar import Sidecar
from data_prep.sharding.shard import shard
from tests.builders.private_builder import anatomy, make_private, settings

_ALLOWED = {
    "format_version", "key", "frame", "patient", "study", "series", "site", "patient_known", "study_day", "split",
    "body_part", "view", "laterality", "sex", "age_years", "manufacturer", "model", "bits_stored", "photometric",
    "presentation_intent", "rows", "columns", "source_rows", "source_columns", "pixel_spacing_mm", "pixel_spacing_from",
    "display", "content_mask", "content_mask_version", "pixel_sha256",
}  # fmt: skip


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("format")
        shard(make_private(folder, patch), folder / "public", settings())
    return folder / "public"


def test_webdataset_alone_reads_the_shards(public: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports warn
        import webdataset as wds

        shards = sorted(str(path) for path in public.glob("*.tar"))
        samples = list(wds.WebDataset(shards, shardshuffle=False, empty_check=False))
    index = pq.read_table(public / "index.parquet").to_pylist()
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in index]
    for sample, row in zip(samples, index, strict=True):
        sidecar = Sidecar.model_validate_json(sample["json"])
        assert len(sample["j2c"]) == row["film_size"]
        film = imagecodecs.htj2k_decode(sample["j2c"])
        assert film.shape == (sidecar.rows, sidecar.columns) and film.dtype == np.uint16
        assert apply_display(film, sidecar.display).dtype == np.uint16


def test_the_sidecar_has_the_fields_of_the_allow_list_and_no_others(public: Path) -> None:
    assert set(Sidecar.model_fields) == _ALLOWED
    row = pq.read_table(public / "index.parquet").to_pylist()[0]
    data = (public / row["shard"]).read_bytes()
    sidecar = json.loads(data[row["sidecar_offset"] : row["sidecar_offset"] + row["sidecar_size"]])
    assert set(sidecar) == _ALLOWED
    places = {"shard", "film_offset", "film_size", "sidecar_offset", "sidecar_size"}
    seen = {"display_source", "display_invert", "provenance", "content_fraction", "polarity_suspect", "same_pixels_as"}
    seen |= {"clipped_low", "clipped_high", "perceptual_hash"}
    assert set(INDEX_SCHEMA.names) - places - seen - set(LATER_COLUMNS) < _ALLOWED


def test_codestream_is_that_of_transfer_syntax_202() -> None:
    """HTJ2K lossless with RPCL (1.2.840.10008.1.2.4.202, PS3.5 A.4.10): markers by ITU-T T.800 and T.814."""
    stream = encode_film(anatomy("stream", 700, 500))
    codes = {"SOC": 0x4F, "CAP": 0x50, "SIZ": 0x51, "COD": 0x52, "TLM": 0x55, "SOT": 0x90}
    marker = {name: stream.find(bytes((0xFF, code))) for name, code in codes.items()}
    assert marker["SOC"] == 0 and marker["SIZ"] == 2
    assert all(0 <= place < marker["SOT"] for name, place in marker.items() if name != "SOT"), marker
    coding = stream[marker["COD"] + 4 :]
    progression, layers = coding[1], int.from_bytes(coding[2:4], "big")
    assert progression == 2, "RPCL"
    assert layers == 1
    levels, block_style, wavelet = coding[5], coding[8], coding[9]
    assert levels == 5 and block_style & 0x40 and wavelet == 1, "high throughput blocks, reversible 5/3 wavelet"


def test_first_bytes_hold_the_small_film() -> None:
    """RPCL lets a reader stop early: fewer bytes, the same half-size film."""
    stream = encode_film(anatomy("prefix", 1024, 768))
    part = imagecodecs.htj2k_decode(stream[: len(stream) * 45 // 100], skipres=1, resilient=True)
    assert np.array_equal(part, imagecodecs.htj2k_decode(stream, skipres=1))
    assert np.array_equal(decode_film(stream, bits=12), anatomy("prefix", 1024, 768))


@pytest.mark.parametrize("shape", [(1536, 1024), (100, 3000), (3000, 17), (64, 64)])
def test_masks_survive_packing(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(mask_shape(*shape)) < 0.5
    mask.flat[0] = False
    assert max(mask.shape) == 64
    assert np.array_equal(unpack_mask(pack_mask(mask), *shape), mask)
    assert pack_mask(np.ones_like(mask)) == "" and unpack_mask("", *shape).all()


def test_damaged_folders_and_other_folders_are_distinguished(public: Path, tmp_path: Path) -> None:
    card = tmp_path / "dataset.json"
    with pytest.raises(ShardFormatError, match="holds no dataset"):
        read_dataset_card(tmp_path)
    for text, message in (
        ("{", "cannot be read"),
        ("[]", "version None"),
        (f'{{"format_version": {FORMAT_VERSION}}}', "damaged"),
    ):
        card.write_text(text)
        with pytest.raises(ShardFormatError, match=message):
            read_dataset_card(tmp_path)
    assert read_dataset_card(public).files.written == 14
