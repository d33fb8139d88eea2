"""Product code writes files through ``data_prep.runtime.atomic_write``: complete or not at all, and synced."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for package in ("data_prep", "mae_rad", "launch")
    for path in (ROOT / package).rglob("*.py")
    if not path.is_relative_to(ROOT / "mae_rad/bench")  # measures on inputs of its own; a stopped run begins anew
)

WRITERS = {"write_text", "write_bytes", "savefig", "to_csv", "write_table", "save", "save_file"}
"""Methods and functions that write into the path they are given."""
ATOMIC = {"atomic_file", "synced_file"}
BUFFERS = {"BytesIO", "StringIO", "BufferOutputStream"}
MODULE = "data_prep/runtime/atomic_write.py"

IN_EXPORT = "inside an exported folder, which is written by atomic_folder"
ALLOWED = {
    ("data_prep/runtime/process_limits.py", "write_text"): "a file of the kernel",
    ("data_prep/archive/header_cache.py", "write_table"): "a stream of a synced_file, which a stopped scan leaves",
    (
        "data_prep/object_storage/range_cache.py",
        "write_bytes",
    ): "renamed, and read with its checksum: needs no sync",
    ("data_prep/sharding/estimate.py", "write_text"): "in a temporary folder",
    ("data_prep/phantom/write_archive.py", "write_bytes"): "into a folder that was empty: an unfinished one is refused",
    ("data_prep/phantom/write_archive.py", "write_text"): "into a folder that was empty",
    ("data_prep/phantom/truth_files.py", "write_text"): "into a folder that was empty",
    ("data_prep/phantom/truth_files.py", "open"): "into a folder that was empty",
    ("data_prep/phantom/hospital_archive.py", "write_bytes"): "into a folder that was empty",
    ("data_prep/phantom/hospital_reports.py", "write_text"): "into a folder that was empty",
    ("data_prep/phantom/hospital_reports.py", "open"): "into a folder that was empty",
    ("data_prep/phantom/write_archive.py", "open"): "into a folder that was empty",
    ("data_prep/pages/border_sheets.py", "open"): "into a folder that was empty, line by line",
    ("mae_rad/api/film_files.py", "write_bytes"): "in a temporary folder",
    ("mae_rad/training/run_folder.py", "open"): "metrics.jsonl, to which lines are appended",
    ("mae_rad/sweep/train_arms.py", "open"): "output of a training, to which lines are appended",
    ("mae_rad/training/loop.py", "save"): "a checkpoint: save_and_resume.py renames its folder when it is complete",
    ("mae_rad/training/save_and_resume.py", "save"): "into the folder that is renamed when it is complete",
    ("mae_rad/prediction/prediction_folder.py", "open"): "predictions.jsonl, to which lines are appended",
    ("mae_rad/prediction/mlflow_predictor.py", "write_bytes"): "in a temporary folder, of a request",
    ("mae_rad/embedding/token_store.py", "open"): "appended to; place.npy states how much of it is valid",
    ("mae_rad/embedding/embeddings_file.py", "write_table"): "a ParquetWriter of an atomic_file",
    ("mae_rad/tracking/model_registry.py", "write_text"): "in a temporary folder, for an upload",
    ("mae_rad/tracking/model_registry.py", "save"): "in a temporary folder, for an upload",
    ("mae_rad/export/encoder_folder.py", "save_file"): IN_EXPORT,
    ("mae_rad/export/encoder_folder.py", "write_text"): IN_EXPORT,
    ("mae_rad/export/predictor_folder.py", "save_file"): IN_EXPORT,
    ("mae_rad/export/predictor_folder.py", "write_text"): IN_EXPORT,
    ("mae_rad/export/export_run.py", "write_text"): IN_EXPORT,
    ("mae_rad/export/encoder_with_decoder_folder.py", "write_text"): IN_EXPORT,
    ("mae_rad/export/hugging_face.py", "save_file"): IN_EXPORT,
    ("mae_rad/export/hugging_face.py", "write_text"): IN_EXPORT,
    ("mae_rad/export/timm_model.py", "save_file"): IN_EXPORT,
    ("mae_rad/export/timm_model.py", "write_text"): IN_EXPORT,
    ("mae_rad/export/onnx_model.py", "save"): IN_EXPORT,
    ("mae_rad/export/checkpoint_encoder.py", "write_text"): "in a temporary folder",
}
"""(module, call) → why it need not be atomic."""


def _name(call: ast.AST) -> str:
    function = call.func if isinstance(call, ast.Call) else call
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _safe_names(tree: ast.AST) -> set[str]:
    """Names of files that :mod:`atomic_write` opened, and of buffers."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            for item in node.items:
                if _name(item.context_expr) in ATOMIC and isinstance(item.optional_vars, ast.Name):
                    names.add(item.optional_vars.id)
        if isinstance(node, ast.Assign) and _name(node.value) in BUFFERS:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def _opens_for_writing(call: ast.Call) -> bool:
    if any(keyword.arg == "fileobj" for keyword in call.keywords):  # a tar in a file that is open
        return False
    modes = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    constants = [node.value for mode in modes for node in ast.walk(mode) if isinstance(node, ast.Constant)]
    texts = [value for value in constants if isinstance(value, str)]
    return any(set(text) <= set("rwxabt+") and set(text) & set("wxa+") for text in texts)


def _functions(tree: ast.AST) -> Iterator[ast.AST]:
    """The functions of a module, each with those inside it, and the module's own statements."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _functions(node)
        else:
            yield node


def unsafe_writes(source: str) -> set[str]:
    """Names of the calls of ``source`` that write into a path by themselves."""
    found: set[str] = set()
    for function in _functions(ast.parse(source)):
        safe = _safe_names(function)
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            is_safe = any(isinstance(given, ast.Name) and given.id in safe for given in call.args)
            makes_bytes = _name(call) == "save" and isinstance(call.func, ast.Name)  # that of safetensors
            if _name(call) in WRITERS and not is_safe and not makes_bytes:
                found.add(_name(call))
            if _name(call) == "open" and _opens_for_writing(call):
                found.add("open")
    return found


def test_files_are_written_in_one_step() -> None:
    writing = {
        (path.relative_to(ROOT).as_posix(), call)
        for path in SOURCES
        for call in unsafe_writes(path.read_text(encoding="utf-8"))
    }
    unsafe = writing - set(ALLOWED) - {(MODULE, "open")}
    assert not unsafe, f"write through data_prep.runtime.atomic_write: {sorted(unsafe)}"
    assert set(ALLOWED) <= writing, "an exception is no longer needed"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("path.write_text('')", {"write_text"}),
        ("open(path, 'w')", {"open"}),
        ("path.open('rb+')", {"open"}),
        ("path.open(mode='ab')", {"open"}),
        ("path.open('r+b' if path.exists() else 'wb')", {"open"}),
        ("path.open('rb')", set()),
        ("tarfile.open(fileobj=file, mode='w')", set()),
        ("file.write(save(weights))", set()),
        ("figure.savefig(path, dpi=1)", {"savefig"}),
        ("with atomic_file(path) as file:\n    figure.savefig(file)", set()),
        ("def f():\n    with atomic_file(p) as file: pass\ndef g(file):\n    picture.save(file)", {"save"}),
        ("def f():\n    sink = io.BytesIO()\n    pq.write_table(t, sink)", set()),
        ("class A:\n    def f(self):\n        pq.write_table(t, path)", {"write_table"}),
    ],
)
def test_a_write_past_the_one_way_is_found(source: str, found: set[str]) -> None:
    assert unsafe_writes(source) == found
