"""The specification in shard_format/README.md: its example reads a folder, its tables are those of the code."""

import gc
import re
import runpy
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from data_prep.shard_format import film_codec, htj2k
from data_prep.shard_format.apply_display import apply_display, as_table, display_table, pack_table
from data_prep.shard_format.content_mask_bits import unpack_mask
from data_prep.shard_format.dataset_card import DatasetCard, ShardCard
from data_prep.shard_format.film_codec import codec_of, decode_film
from data_prep.shard_format.folder_layout import FILM_SUFFIXES, FORMAT_VERSION
from data_prep.shard_format.index import read_index
from data_prep.shard_format.index_schema import INDEX_SCHEMA, REJECTS_SCHEMA
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.shard_format.sidecar import Display, Sidecar
from data_prep.sharding.append import append
from data_prep.sharding.shard import shard
from tests.builders.private_builder import make_private, settings
from tests.data_prep.sharding.test_append import rescan, write_study

ROOT = Path(__file__).resolve().parents[3]
README = ROOT / "data_prep" / "shard_format" / "README.md"
TEXT = README.read_text(encoding="utf-8")
BASE = Display.model_validate(
    {
        "bits": 12, "value_offset": 0, "value_shift": 0, "slope": 1.0, "intercept": 0.0, "center": 2000.5,
        "width": 3001.0, "function": "LINEAR", "invert": False, "source": "window", "windows": [],
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code block of the page as a file."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    path: Path = tmp_path_factory.mktemp("example") / "read_films.py"
    path.write_text(code, encoding="utf-8")
    return path


def run(example: Path, name: str = "read_films") -> dict[str, Any]:
    with _quiet():
        return runpy.run_path(str(example), run_name=name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Imports of webdataset warn, and it leaves the last tar to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
        gc.collect()


def table_after(heading: str, number: int = 0) -> Iterator[tuple[str, str]]:
    """(name, type) of the rows of a table of the page."""
    section = re.split(r"^## ", TEXT.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    for line in tables[number].splitlines()[2:]:
        name, kind, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        yield name.strip("`"), kind


@pytest.mark.parametrize("codec", FILM_SUFFIXES)
def test_the_example_reads_a_folder_with_webdataset_alone(
    codec: str,
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    imported = set(re.findall(r"^import (\w+)", example.read_text(), flags=re.MULTILINE))
    assert imported == {"base64", "glob", "json", "sys", "zlib", "imagecodecs", "numpy", "webdataset"}
    private, public = make_private(tmp_path, monkeypatch), tmp_path / "public"
    shard(private, public, settings(codec=codec))
    write_study(tmp_path / "archive", 30, study="new")
    rescan(private)
    append(private, public, settings(codec=codec))
    code = run(example)
    with _quiet():
        films = list(code["read_films"](public))
    index = read_index(public).to_pylist()
    assert [sidecar["key"] for sidecar, *_ in films] == [row["key"] for row in index] and len(films) == 15
    for (sidecar, values, shown), row in zip(films, index, strict=True):
        model = Sidecar.model_validate(sidecar)
        data = (public / row["shard"]).read_bytes()[row["film_offset"] :][: row["film_size"]]
        assert codec_of(data) == codec
        ours = decode_film(data, bits=model.display.bits)
        assert np.array_equal(values, ours) and np.array_equal(shown, apply_display(ours, model.display))
        assert np.array_equal(code["content_mask"](sidecar), unpack_mask(model.content_mask, model.rows, model.columns))
    monkeypatch.setattr("sys.argv", ["read_films.py", str(public)])
    run(example, "__main__")
    assert len(capsys.readouterr().out.splitlines()) == 15


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"invert": True, "slope": 0.37, "intercept": -12.5},
        {"center": None, "width": None},
        {"width": 1.0},
        {"function": "LINEAR_EXACT", "value_shift": 1, "value_offset": 300},
        {"function": "SIGMOID"},
        {"table": pack_table(as_table(np.linspace(0, 1, 4096) ** 2, invert=True))},
    ],
)
def test_the_formulas_of_the_page_are_those_of_the_code(changes: dict[str, object], example: Path) -> None:
    display = BASE.model_copy(update=changes)
    assert np.array_equal(run(example)["display_table"](display.model_dump(mode="json")), display_table(display))


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("index.parquet", INDEX_SCHEMA),
        ("rejects.parquet", REJECTS_SCHEMA),
        ("labels.parquet", LABELS_SCHEMA),
        ("boxes.parquet", BOXES_SCHEMA),
    ],
)
def test_tables_have_the_columns_of_the_page(heading: str, schema: pa.Schema) -> None:
    written = [(name, kind.replace("element: ", "item: ")) for name, kind in table_after(heading)]
    assert written == [(field.name, str(field.type)) for field in schema]


@pytest.mark.parametrize(
    ("heading", "number", "model"),
    [
        ("Sidecar", 0, Sidecar),
        ("Sidecar", 1, Display),
        ("dataset.json", 0, DatasetCard),
        ("Card of a shard", 0, ShardCard),
    ],
)
def test_cards_have_the_fields_of_the_page(heading: str, number: int, model: Any) -> None:
    assert [name for name, _ in table_after(heading, number)] == list(model.model_fields)


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert TEXT.startswith(f"# The shard format, version {FORMAT_VERSION}\n")
    assert dict(table_after("Sample")).keys() == set(FILM_SUFFIXES.values())
    assert film_codec._MIN_UNDERSHOOT == 49152 == 3 * 2**14 and film_codec._LEVELS == 5 and film_codec.MAX_BITS == 15
    functions = {name for name, _ in table_after("Display values")}
    assert functions - {"no `center`", "no `center"} == set(get_args(Display.model_fields["function"].annotation))
    assert (README.parent / "htj2k.py").name == Path(str(htj2k.__file__)).name


def test_the_page_is_part_of_the_package() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["data_prep"]
    assert README.relative_to(ROOT / "data_prep").as_posix() in data
