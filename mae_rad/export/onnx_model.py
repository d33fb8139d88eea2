"""Export an encoder as an ONNX graph for one film size and any batch size, which runs without torch.

model.onnx    input ``images``, outputs ``tokens`` and ``pooled``; normalisation and positions are in the graph
"""

import contextlib
import importlib.util
import io
import warnings
from pathlib import Path

import torch

from mae_rad.encoders.vit import EncoderSettings, ViT
from mae_rad.errors import SettingsError, WeightsError
from mae_rad.export.fixed_size import FilmSize, ImageEncoder

MODEL = "model.onnx"

OPSET = 20
"""Operator set of the graph: the first with GELU as an operator; onnxruntime supports it since 1.17."""

MAX_WEIGHT_BYTES = 1_900_000_000
"""Bytes of weights that fit into one file: protobuf ends at 2 GiB."""


def write_onnx(encoder: ViT, settings: EncoderSettings, size: FilmSize, folder: Path) -> str:
    """Write ``model.onnx``.

    Args:
        encoder: encoder with its weights.
        settings: its settings.
        size: film size that the graph is fixed to.
        folder: existing folder to write into.

    Returns:
        Markdown that shows how to run the graph.

    Raises:
        SettingsError: the packages onnx or onnxscript are not installed.
        WeightsError: the encoder is too large for one file.
    """
    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise SettingsError(f"ONNX needs {' and '.join(missing)}. Install the extra: pip install 'mae_rad[export]'")
    if 4 * sum(parameter.numel() for parameter in encoder.parameters()) > MAX_WEIGHT_BYTES:
        raise WeightsError(
            "the encoder has more than 1.9 GB of weights, too many for one ONNX file. Export it --to timm."
        )
    model = ImageEncoder(encoder.float().cpu(), size).eval()
    example = torch.zeros(2, size.channels, size.rows, size.columns)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        torch.onnx.export(
            model,
            (example,),
            folder / MODEL,
            input_names=["images"],
            output_names=["tokens", "pooled"],
            dynamic_shapes={"images": {0: torch.export.Dim("films", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
    _remove_metadata(folder / MODEL)
    channels = "one channel" if size.channels == 1 else "three equal channels"
    return f"""```python
import onnxruntime

session = onnxruntime.InferenceSession("{MODEL}")
# images: [B, {size.channels}, {size.rows}, {size.columns}] float32 display values in [0, 1], {channels}
tokens, pooled = session.run(None, {{"images": images}})  # [B, N, {settings.shape.dim}], [B, {settings.shape.dim}]
```
"""


def _remove_metadata(path: Path) -> None:
    """Remove the exporter's notes on every node, which include file names of this machine."""
    import onnx  # noqa: PLC0415 - an optional package

    model = onnx.load(path)
    graph = model.graph
    parts = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in [model, *parts, *model.functions, *(node for function in model.functions for node in function.node)]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, path)
