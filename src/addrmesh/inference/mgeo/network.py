"""
The text encoder of MGeo as an ONNX graph for onnxruntime.

**No padding.** The tokens of all texts of a run lie one after another, `[T]`; only attention, less than one part in a
hundred of the arithmetic, needs them as `[N, L]`. So a run costs its tokens, whatever lengths meet in it.

**Answers that do not depend on the run.** Everything but attention works on one token at a time, attention on one
text at a time. int8 scales each token by its own extremes, so no neighbour moves a digit and nothing has to be
calibrated; onnxruntime's own dynamic quantisation scales by the extremes of the whole run instead.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from addrmesh.inference.mgeo.checkpoint import Config

Weights = Mapping[str, NDArray[np.float32]]

INPUTS = {"ids": "T", "types": "T", "positions": "T", "gather": "NL", "lengths": "N", "scatter": "T"}
SMALLEST = 1e-9
GELU_DEPTH, GELU_ZERO = 0.17, 32
"""GELU never goes below -0.16998; a token's range is given to what lies above, but for 32 steps."""


class _Graph:
    """Nodes and constants in the making; each method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def const(self, name: str, value: object, dtype: type = np.float32) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.array(value, dtype, order="C"), name)
        return name

    def op(self, kind: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        output = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def once(self, name: str, kind: str, *inputs: str) -> str:
        return name if any(name in node.output for node in self.nodes) else self.op(kind, *inputs, name=name)

    def microsoft(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.op(kind, *inputs, domain="com.microsoft", **attributes)


class _Tokens(NamedTuple):
    """What a matrix product reads: floats, or bytes with one scale for each token."""

    values: str
    scale: str | None = None
    zero: str = ""


def build(weights: Weights, config: Config, *, tagger: bool, precision: str) -> bytes:
    """
    Write the graph of a tagger or a pair scorer.

    Inputs, int32: `ids`, `types`, `positions` `[T]`; `gather` `[N, L]`, the flat place of each token of each text
    (anything behind its end); `lengths` `[N]`; `scatter` `[T]`, the place of each token in `gather` laid flat.
    Outputs: `scores`, `[T, labels]` of a tagger or `[N, labels]` of a pair scorer; of a tagger also `tags` `[T]`, the
    best label of each token, and `sure` `[T]`, its probability.

    Args:
        weights: The text encoder and the classifier, names without a leading `bert.text_encoder.`.
        config: Their shape.
        tagger: Whether every token is classified, or the first of each text through the pooler.
        precision: `fp32` or `int8`; the embeddings' sum, normalisation, attention and the classifier stay fp32.
    """
    graph = _Graph()
    x = _embed(graph, weights, config, precision)
    for layer in range(config.num_hidden_layers):
        x = _layer(graph, weights, config, f"encoder.layer.{layer}.", x, precision)
    outputs = []
    if tagger:
        _linear(graph, weights, "classifier", x, name="scores")
        graph.op("ArgMax", "scores", name="tags", axis=1, keepdims=0)
        graph.op("ReduceMax", graph.op("Softmax", "scores", axis=1), name="sure", axes=[1], keepdims=0)
        outputs = [("tags", TensorProto.INT64, ["T"]), ("sure", TensorProto.FLOAT, ["T"])]
    else:
        first = graph.op("Gather", "gather", graph.const("first", 0, np.int64), axis=1)
        pooled = graph.op("Tanh", _linear(graph, weights, "pooler.dense", graph.op("Gather", x, first)))
        _linear(graph, weights, "classifier", pooled, name="scores")
    info = helper.make_tensor_value_info
    scores = info("scores", TensorProto.FLOAT, ["T" if tagger else "N", weights["classifier.weight"].shape[0]])
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "mgeo",
            [info(name, TensorProto.INT32, list(shape)) for name, shape in INPUTS.items()],
            [scores, *(info(*output) for output in outputs)],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        producer_name="addrmesh",
    )
    model.ir_version = 9
    data: bytes = model.SerializeToString()
    return data


def _embed(graph: _Graph, weights: Weights, config: Config, precision: str) -> str:
    table = weights["embeddings.word_embeddings.weight"]
    if precision == "int8":
        scale = np.maximum(np.abs(table).max(1, keepdims=True), SMALLEST) / 127
        rows = graph.op("Gather", graph.const("words", np.round(table / scale), np.int8), "ids")
        factor = graph.op("Gather", graph.const("words.scale", scale), "ids")
        words = graph.op("Mul", graph.op("Cast", rows, to=TensorProto.FLOAT), factor)
    else:
        words = graph.op("Gather", graph.const("words", table), "ids")
    places = graph.op("Gather", graph.const("places", weights["embeddings.position_embeddings.weight"]), "positions")
    kinds = graph.op("Gather", graph.const("kinds", weights["embeddings.token_type_embeddings.weight"]), "types")
    return _normalise(
        graph, weights, config, "embeddings.LayerNorm", graph.op("Add", graph.op("Add", words, kinds), places)
    )


def _layer(graph: _Graph, weights: Weights, config: Config, at: str, x: str, precision: str) -> str:
    read = _quantised if precision == "int8" else _as_it_is
    attention, out = f"{at}attention.self.", f"{at}attention.output.dense"
    tokens = read(graph, x)
    query, key, value = (
        _multiply(graph, attention + part, weights[f"{attention}{part}.weight"], tokens)
        for part in ("query", "key", "value")
    )
    # A key's bias moves all scores of a query alike, which softmax does not see. A value's bias passes through the
    # weights of attention, which add up to one, and joins the bias behind them.
    query = graph.op("Add", query, graph.const(f"{attention}query.bias", weights[f"{attention}query.bias"]))
    rows = [graph.op("Gather", part, "gather") for part in (query, key, value)]
    mixed = graph.microsoft("MultiHeadAttention", *rows, "", "lengths", num_heads=config.num_attention_heads)
    flat = graph.op("Reshape", mixed, graph.const("flat", [-1, config.hidden_size], np.int64))
    context = read(graph, graph.op("Gather", flat, "scatter"))
    bias = weights[f"{out}.bias"] + weights[f"{out}.weight"] @ weights[f"{attention}value.bias"]
    x = _add(graph, _multiply(graph, out, weights[f"{out}.weight"], context), f"{out}.bias", bias, x)
    x = _normalise(graph, weights, config, f"{at}attention.output.LayerNorm", x)

    up, down = f"{at}intermediate.dense", f"{at}output.dense"
    wide = _multiply(graph, up, weights[f"{up}.weight"], read(graph, x))
    wide = graph.microsoft("BiasGelu", wide, graph.const(f"{up}.bias", weights[f"{up}.bias"]))
    tokens = _quantised_gelu(graph, wide) if precision == "int8" else _as_it_is(graph, wide)
    x = _add(
        graph, _multiply(graph, down, weights[f"{down}.weight"], tokens), f"{down}.bias", weights[f"{down}.bias"], x
    )
    return _normalise(graph, weights, config, f"{at}output.LayerNorm", x)


def _add(graph: _Graph, x: str, name: str, bias: NDArray[np.float32], skip: str) -> str:
    return graph.op("Add", graph.op("Add", x, graph.const(name, bias)), skip)


def _normalise(graph: _Graph, weights: Weights, config: Config, name: str, x: str) -> str:
    # onnxruntime's SkipLayerNormalization would add as well, at an eighth of the speed.
    scale, bias = (graph.const(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=config.layer_norm_eps)


def _linear(graph: _Graph, weights: Weights, layer: str, x: str, name: str = "") -> str:
    product = _multiply(graph, layer, weights[f"{layer}.weight"], _as_it_is(graph, x))
    return graph.op("Add", product, graph.const(f"{layer}.bias", weights[f"{layer}.bias"]), name=name)


def _multiply(graph: _Graph, name: str, weight: NDArray[np.float32], tokens: _Tokens) -> str:
    if tokens.scale is None:
        return graph.op("MatMul", tokens.values, graph.const(f"{name}.weight", weight.T))
    scale = np.maximum(np.abs(weight).max(1), SMALLEST) / 127
    integers = graph.const(f"{name}.weight", np.round(weight.T / scale), np.int8)
    scales = (graph.const("one", 1), graph.const(f"{name}.scale", scale))
    product = graph.microsoft("MatMulIntegerToFloat", tokens.values, integers, *scales, tokens.zero)
    return graph.op("Mul", product, tokens.scale)


def _as_it_is(graph: _Graph, x: str) -> _Tokens:  # noqa: ARG001 - one of three ways to read
    return _Tokens(x)


def _quantised(graph: _Graph, x: str) -> _Tokens:
    largest = graph.op("ReduceMax", graph.op("Abs", x), axes=[1], keepdims=0)
    return _bytes(graph, x, largest, steps=127, zero=128, least=SMALLEST)


def _quantised_gelu(graph: _Graph, x: str) -> _Tokens:
    largest = graph.op("ReduceMax", x, axes=[1], keepdims=0)
    return _bytes(graph, x, largest, steps=255 - GELU_ZERO, zero=GELU_ZERO, least=GELU_DEPTH / GELU_ZERO)


def _bytes(graph: _Graph, x: str, largest: str, *, steps: int, zero: int, least: float) -> _Tokens:
    scale = graph.op("Mul", largest, graph.const(f"step.{steps}", 1 / steps))
    scale = graph.op("Max", scale, graph.const(f"least.{zero}", least))
    offset = graph.const(f"zero.{zero}", zero, np.uint8)
    offsets = graph.once(f"zeros.{zero}", "Expand", offset, graph.once("tokens", "Shape", "ids"))
    column = graph.op("Unsqueeze", scale, graph.const("second", [1], np.int64))
    return _Tokens(graph.op("QuantizeLinear", x, scale, offsets, axis=0), column, offset)
