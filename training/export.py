"""
A trained tagger to a release: int8 ONNX, calibrated confidence, probe set, manifest.

**Answers that do not depend on the batch.** onnxruntime's `DynamicQuantizeLSTM` scales its inputs and its hidden state
by their extremes over the whole batch, so one address could change another's answer. The exported network fixes
those extremes. Two columns of the gazetteer embedding always hold ±m, m the largest embedding value, and reach no
gate. Two hidden units of each direction have saturated gates and hold ±tanh(t) at step t; since |c_t| ≤ t for every
LSTM cell that starts at zero, no other unit can exceed them. So every batch has the same scale at every step. The
output layer is quantised with the constant scale 1/127.
"""

import datetime as dt
import hashlib
import json
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from addrmesh.address import gazetteer
from addrmesh.address.decode import DECODER_VERSION
from addrmesh.address.labels import TAGS
from addrmesh.address.normalize import NORMALIZER_VERSION
from addrmesh.inference.features import GAZETTEER_CODES, Vocabulary
from network import GAZETTEER_BITS, Tagger

SATURATED = 25.0
"""Pre-activation at which a float32 sigmoid or tanh is 1."""


def _lstm_weights(model: Tagger) -> tuple[NDArray, NDArray, NDArray]:
    """Return W, R, B in ONNX's gate order (input, output, forget, cell) with the two bounding units appended."""
    hidden, lstm = model.lstm.hidden_size, model.lstm
    inputs = lstm.input_size + 2
    w_all, r_all, b_all = [], [], []
    for suffix in ("", "_reverse"):
        w, r = (getattr(lstm, f"weight_{kind}_l0{suffix}").detach().numpy() for kind in ("ih", "hh"))
        b = (getattr(lstm, f"bias_ih_l0{suffix}") + getattr(lstm, f"bias_hh_l0{suffix}")).detach().numpy()
        w_gates, r_gates, b_gates = [], [], []
        for gate in (0, 3, 1, 2):  # torch: input, forget, cell, output
            rows = slice(gate * hidden, (gate + 1) * hidden)
            w_gates.append(np.pad(w[rows], ((0, 2), (0, 2))))
            r_gates.append(np.pad(r[rows], ((0, 2), (0, 2))))
            bound = [SATURATED, -SATURATED] if gate == 2 else [SATURATED, SATURATED]
            b_gates.append(np.concatenate([b[rows], bound]))
        w_all.append(np.concatenate(w_gates))
        r_all.append(np.concatenate(r_gates))
        b_all.append(np.concatenate([*b_gates, np.zeros(4 * (hidden + 2))]))
    assert w_all[0].shape[1] == inputs
    return tuple(np.stack(x).astype(np.float32) for x in (w_all, r_all, b_all))  # type: ignore[return-value]


def build(model: Tagger, precision: str) -> onnx.ModelProto:
    """
    Build the network as an ONNX graph.

    Inputs are `characters`, `pairs`, `gazetteer` `[T, B]` and `lengths` `[B]`, int32. Outputs are `scores` `[T, B, L]`,
    `tags` `[T, B]` (the best tag of each character) and `sure` `[T, B]` (its probability).

    Args:
        model: Trained weights; the first head is used.
        precision: `fp32`, or `int8` for the output layer (the rest is quantised afterwards).
    """
    hidden = model.lstm.hidden_size + 2
    characters = model.character.weight.detach().numpy()[:-1]
    pairs = model.pair.weight.detach().numpy()
    codes = np.arange(GAZETTEER_CODES)
    hits = ((codes[:, None] >> np.arange(GAZETTEER_BITS)) & 1).astype(np.float32)
    table = hits @ model.gazetteer.weight.detach().numpy().T + model.gazetteer.bias.detach().numpy()
    bound = max(np.abs(x).max() for x in (characters, pairs, table))
    table = np.concatenate([table, np.full((len(table), 1), bound), np.full((len(table), 1), -bound)], 1)
    w, r, b = _lstm_weights(model)
    head = model.heads[0]
    half = hidden - 2
    out = head.weight.detach().numpy().T  # [2H, L], forward then backward
    out = np.concatenate([np.pad(out[:half], ((0, 2), (0, 0))), np.pad(out[half:], ((0, 2), (0, 0)))])
    constants = {
        "character_table": characters, "pair_table": pairs, "gazetteer_table": table, "W": w, "R": r, "B": b,
        "bias": head.bias.detach().numpy(), "shape": np.array([0, 0, 2 * hidden]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Gather", ["character_table", "characters"], ["x1"]),
        node("Gather", ["pair_table", "pairs"], ["x2"]),
        node("Gather", ["gazetteer_table", "gazetteer"], ["x3"]),
        node("Concat", ["x1", "x2", "x3"], ["x"], axis=-1),
        node("LSTM", ["x", "W", "R", "B", "lengths"], ["y4"], hidden_size=hidden, direction="bidirectional"),
        node("Transpose", ["y4"], ["yt"], perm=[0, 2, 1, 3]),
        node("Reshape", ["yt", "shape"], ["y"]),
    ]
    if precision == "int8":
        scale = np.abs(out).max(0) / 127
        constants |= {
            "unit": np.float32(1 / 127), "middle": np.uint8(128), "weight": np.round(out / scale).astype(np.int8),
            "scale": scale / 127,
        }  # fmt: skip
        nodes += [
            node("QuantizeLinear", ["y", "unit", "middle"], ["yq"]),
            node("MatMulInteger", ["yq", "weight", "middle"], ["si"]),
            node("Cast", ["si"], ["sf"], to=TensorProto.FLOAT),
            node("Mul", ["sf", "scale"], ["sm"]),
        ]
    else:
        constants["weight"] = out
        nodes.append(node("MatMul", ["y", "weight"], ["sm"]))
    nodes += [
        node("Add", ["sm", "bias"], ["scores"]),
        node("ArgMax", ["scores"], ["tags"], axis=2, keepdims=0),
        node("Softmax", ["scores"], ["p"], axis=-1),
        node("ReduceMax", ["p"], ["sure"], axes=[2], keepdims=0),
    ]
    keep = {"shape": np.int64, "middle": np.uint8}
    tables = [
        numpy_helper.from_array(
            np.asarray(v, keep.get(k, np.int8 if k == "weight" and precision == "int8" else np.float32)), k
        )
        for k, v in constants.items()
    ]
    info = helper.make_tensor_value_info
    inputs = [info(name, TensorProto.INT32, ["T", "B"]) for name in ("characters", "pairs", "gazetteer")]
    inputs.append(info("lengths", TensorProto.INT32, ["B"]))
    outputs = [
        info("scores", TensorProto.FLOAT, ["T", "B", len(TAGS)]), info("tags", TensorProto.INT64, ["T", "B"]),
        info("sure", TensorProto.FLOAT, ["T", "B"]),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "addrmesh-small", inputs, outputs, tables)
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="addrmesh")
    result.ir_version = 9
    return result


def quantize(model: onnx.ModelProto) -> bytes:
    """Quantise embeddings and LSTM to int8."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, op_types_to_quantize=["LSTM", "Gather"])
        return target.read_bytes()


def write_release(
    folder: Path,
    model: bytes,
    words: Vocabulary,
    *,
    calibration: dict[str, list[float]],
    probes: list[dict],
    card: str,
    source: str,
    precision: str = "int8",
) -> None:
    """Write the files of a release and the manifest that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    contents = {
        "model.onnx": model,
        "vocabulary.json": msgspec.json.encode(words),
        "probes.json": json.dumps(probes, ensure_ascii=False, indent=0).encode(),
        "MODEL_CARD.md": card.encode(),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    manifest = {
        "schema": 1,
        "name": folder.name,
        "task": "elements-tagging",
        "family": "bilstm-bies",
        "source": source,
        "precision": precision,
        "created": dt.datetime.now(dt.UTC).date().isoformat(),
        "licence": "Apache-2.0 for the weights as far as they are ours; the training data state no licence, see MODEL_CARD.md",
        "tags": TAGS,
        "normalizer_version": NORMALIZER_VERSION,
        "decoder_version": DECODER_VERSION,
        "gazetteer_version": gazetteer.version(),
        "gazetteer_sha256": gazetteer.digest(),
        "limits": {"max_code_points": 2000},
        "calibration": calibration,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in sorted(contents.items())
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", "utf-8")
