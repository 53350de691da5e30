"""
MGeo in torch: a release in fp16 or bf16, on a CUDA device or on torch's CPU device.

**No padding between texts.** The tokens of all texts of a run lie one behind the other, as in `network`; attention of
variable length keeps the texts apart. Only behind the last text a run is filled up, to one of `SIZES`.

**One graph for each size.** On CUDA the kernels of each size are captured when the release is loaded, so a run is one
launch, and nothing is allocated while requests wait. The CPU device runs the same code kernel by kernel.

**Memory that runs out** is no failure: the run is split, and no later one is larger than what was found to fit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, pairwise
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import safetensors.torch
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from addrmesh.errors import ConfigError, EngineError, ReleaseError
from addrmesh.inference.mgeo.checkpoint import Config
from addrmesh.inference.mgeo.engine import Array, MGeoTagger
from addrmesh.inference.release import Release

WEIGHTS, SHAPE = "model.safetensors", "config.json"
"""Files of a release: the tensors, and how they belong together."""

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
EDGES = ("embeddings.places", "embeddings.LayerNorm.", "classifier.")
"""What stays fp32: where the numbers come from, and where labels are told apart."""

SIZES = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2112, 3168, 4224, 6336, 8448)
"""Tokens of a run. Each is at most half as large again as the one before, so that at most a third of a run is filling.
4224 rows are 33 tiles of 128, which 132 multiprocessors share evenly. 32 is enough for matrix products on the CPU,
whose kernel for less than four rows rounds unlike the others."""

TEXT_TOKENS = 8
"""A run has room for one text in so many tokens; shorter ones leave a part of it empty."""

SHORT = 128
"""Tokens of a text up to which attention is one block for each text and head."""


class Size(NamedTuple):
    """The shape of a run: what a graph is captured for."""

    tokens: int
    longest: int

    @property
    def texts(self) -> int:
        """How many texts there is room for."""
        return self.tokens // TEXT_TOKENS


def fitting(lengths: Sequence[int], limit: int) -> int:
    """Return how many texts, from the first on, a run of `limit` tokens takes: always one, even if it is longer."""
    total = 0
    for count, length in enumerate(lengths):
        total += length
        if count and max(total, (count + 1) * TEXT_TOKENS) > limit:
            return count
    return len(lengths)


def size_of(lengths: Sequence[int], positions: int) -> Size:
    """Return the smallest shape that holds the texts of one run, for a model of so many positions."""
    need = max(sum(lengths), len(lengths) * TEXT_TOKENS)
    tokens = next(size for size in SIZES if size >= need)
    return Size(tokens, min(tokens, SHORT if max(lengths) <= SHORT else positions, positions))


def device_of(name: str) -> torch.device:
    """
    Find the device that a setting names.

    Args:
        name: `cpu`, `cuda`, `cuda:N`, or `auto`: the first GPU, and the CPU where there is none.

    Raises:
        ConfigError: It is not here, or is too old.
    """
    count = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if count else "cpu"
    kind, _, number = name.partition(":")
    if name == "cpu":
        return torch.device(name)
    if kind != "cuda" or not (number or "0").isdecimal():
        raise ConfigError(f"engine.device: found {name!r}, allowed: auto, cpu, cuda, cuda:N")
    index = int(number or 0)
    if index >= count:
        raise ConfigError(
            f"engine.device: found {name}, but torch {torch.__version__} sees {count} GPUs here; "
            "see `nvidia-smi`, CUDA_VISIBLE_DEVICES and whether this torch is a build for CUDA, or say cpu"
        )
    if (capability := torch.cuda.get_device_capability(index)) < (8, 0):
        raise ConfigError(
            f"engine.device: found {name}, a GPU of compute capability {capability[0]}.{capability[1]}; "
            "8.0 (Ampere) or later is needed; say cpu"
        )
    return torch.device("cuda", index)


def pack(weights: Mapping[str, NDArray[np.float32]], config: Config, precision: str) -> dict[str, bytes]:
    """
    Return the files of a release that hold the network.

    Args:
        weights: The text encoder and the classifier of a tagger, as `checkpoint` names them.
        config: Their shape.
        precision: `fp16` or `bf16`; `EDGES` stay fp32.

    Raises:
        ReleaseError: A weight is beyond what the precision can say.
    """
    whole = {name: torch.from_numpy(weight) for name, weight in weights.items()}
    # Of a tagger, all tokens are of the first text.
    places = whole.pop("embeddings.position_embeddings.weight")
    whole["embeddings.places"] = places + whole.pop("embeddings.token_type_embeddings.weight")[0]
    for at in _layers(config):
        for part in ("weight", "bias"):
            rows = [whole.pop(f"{at}attention.self.{one}.{part}") for one in ("query", "key", "value")]
            whole[f"{at}attention.self.{part}"] = torch.cat(rows)
    tensors = {
        name: (tensor if name.startswith(EDGES) else tensor.to(DTYPES[precision])).contiguous()
        for name, tensor in whole.items()
    }
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ReleaseError(f"{name} has weights beyond the range of {precision}; build with --precision bf16")
    shape = msgspec.structs.replace(config, id2label=None, label2id=None)
    return {WEIGHTS: safetensors.torch.save(tensors), SHAPE: msgspec.json.encode(shape)}


class TorchTagger(MGeoTagger):
    """
    An engine for elements tagging; see `inference.engine.Engine`.

    Args:
        release: In fp16 or bf16.
        device: As `device_of` takes it.

    Raises:
        ReleaseError: The model cannot be read.
        ConfigError: The device is not here.
        EngineError: The device fails.
    """

    def __init__(self, release: Release, device: str = "auto") -> None:
        self.network = TorchNetwork(release, device_of(device))
        super().__init__(release, self.network)


class TorchNetwork:
    """
    The network of a release on one device; the other implementation of `mgeo.engine.Network`.

    Args:
        release: In fp16 or bf16.
        device: One that exists.
        dtype: Instead of the release's, to compare with.
    """

    def __init__(self, release: Release, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.device = device
        self.limit = SIZES[-1]
        """Tokens that a run may have; lowered when memory runs out."""
        self._log = structlog.get_logger()
        try:
            self._config = msgspec.json.decode(release.read(SHAPE), type=Config)
            tensors = safetensors.torch.load(release.read(WEIGHTS))
        except Exception as error:
            raise ReleaseError(f"the model of release {release.id} cannot be loaded: {type(error).__name__}") from error
        if device.type == "cpu":
            torch.set_num_threads(1)  # as the other engines: one node, one core
        try:
            self._weights = {
                name: tensor.to(device, None if name.startswith(EDGES) else dtype) for name, tensor in tensors.items()
            }
            self._graphs = _Graphs(self) if device.type == "cuda" else None
        except EngineError:
            raise
        except Exception as error:
            raise self._failed("while it was loaded", error) from error

    def run(
        self, rows: Iterable[int], ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None
    ) -> Iterator[tuple[list[int], list[Array]]]:
        """Run the given rows, some at a time; yield which, with scores, tags and certainty of each of their tokens."""
        if types is not None:
            raise AssertionError("the tensors of a tagger know one type of token; this is a bug")
        left = list(rows)
        flying: tuple[list[int], _Answer] | None = None
        while left or flying:
            # The device computes one run while the caller decodes the one before.
            nearest = [len(ids[row]) for row in left[: self.limit // TEXT_TOKENS]]
            group = left[: fitting(nearest, self.limit)]
            launched = None
            if group:
                try:
                    launched = group, self._launch([ids[row] for row in group])
                except torch.OutOfMemoryError as error:
                    self.shrink([len(ids[row]) for row in group], error)
                    continue
                except Exception as error:
                    raise self._failed(f"on a run of {len(group)} texts", error) from error
            left = left[len(group) :]
            if flying:
                try:
                    arrays = flying[1].arrays()
                except Exception as error:
                    raise self._failed(f"on a run of {len(flying[0])} texts", error) from error
                yield flying[0], arrays
            flying = launched

    def forward(self, inputs: Tensor, size: Size) -> tuple[Tensor, Tensor, Tensor]:
        """
        Run the kernels.

        Args:
            inputs: On the device; see `_inputs`.
            size: What they were made for.

        Returns:
            Scores `[tokens, labels]`, the best label of each token, its probability; behind the last text, anything.
        """
        weights, eps = self._weights, self._config.layer_norm_eps
        hidden, heads = self._config.hidden_size, self._config.num_attention_heads
        ids, positions, starts = inputs.tensor_split((size.tokens, 2 * size.tokens))
        attend = _flash if inputs.is_cuda else _each_text

        def linear(name: str, x: Tensor) -> Tensor:
            return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

        def normalise(name: str, x: Tensor) -> Tensor:
            name = f"{name}LayerNorm"
            return functional.layer_norm(x, (hidden,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

        words = weights["embeddings.word_embeddings.weight"]
        x = functional.embedding(ids, words).float() + functional.embedding(positions, weights["embeddings.places"])
        x = normalise("embeddings.", x).to(words.dtype)
        for at in _layers(self._config):
            qkv = linear(f"{at}attention.self", x).view(size.tokens, 3, heads, hidden // heads)
            mixed = attend(qkv, starts, size.longest).reshape(size.tokens, hidden)
            x = normalise(f"{at}attention.output.", linear(f"{at}attention.output.dense", mixed) + x)
            wide = functional.gelu(linear(f"{at}intermediate.dense", x))
            x = normalise(f"{at}output.", linear(f"{at}output.dense", wide) + x)
        scores = linear("classifier", x.float())
        best, tags = scores.max(1)
        return scores, tags, (best - scores.logsumexp(1)).exp()

    def close(self) -> None:
        """Free the device's memory, so that the release can be loaded anew."""
        self._graphs = None
        self._weights.clear()
        if self.device.type == "cuda":
            with suppress(RuntimeError):  # a device that is lost has nothing to give back
                torch.cuda.empty_cache()

    @property
    def sizes(self) -> list[Size]:
        """Every shape a run may have, the largest first."""
        positions = self._config.max_position_embeddings
        shapes = {Size(tokens, min(tokens, longest, positions)) for tokens in SIZES for longest in (SHORT, positions)}
        return sorted(shapes, reverse=True)

    def _launch(self, ids: Sequence[Sequence[int]]) -> "_Answer":
        lengths = list(map(len, ids))
        size, used = size_of(lengths, self._config.max_position_embeddings), sum(lengths)
        inputs = torch.from_numpy(_inputs(ids, size))
        if self._graphs is not None:
            return self._graphs.launch(inputs, size, used)
        with torch.inference_mode():
            return _Answer([tensor[:used] for tensor in self.forward(inputs, size)])

    def shrink(self, lengths: Sequence[int], error: Exception) -> None:
        """
        Lower the limit below a run of such texts, for which there was no memory.

        Raises:
            EngineError: It cannot be lowered.
        """
        tokens = size_of(lengths, self._config.max_position_embeddings).tokens
        smaller = [size for size in SIZES if size < tokens]
        if len(lengths) == 1 or not smaller:
            raise EngineError(
                f"{self.device} has no memory left for a text of {lengths[0]} tokens; "
                "see `nvidia-smi` for what else uses it"
            ) from error
        self.limit = smaller[-1]
        self._log.warning("engine.limit_lowered", device=str(self.device), failed_tokens=tokens, limit=self.limit)

    def _failed(self, when: str, error: Exception) -> EngineError:
        return EngineError(
            f"{self.device} failed {when} ({type(error).__name__}); if it stays so, see `nvidia-smi` and the kernel's "
            "log, and restart the process: one that has lost its GPU cannot get it back"
        )


class _Answer:
    """What a run will leave: tensors on their way to the host, and how to know that they are there."""

    def __init__(self, tensors: Sequence[Tensor], arrived: "torch.cuda.Event | None" = None) -> None:
        self._tensors, self._arrived = tensors, arrived

    def arrays(self) -> list[Array]:
        if self._arrived is not None:
            self._arrived.synchronize()
        return [tensor.numpy() for tensor in self._tensors]


class _Graphs:
    """
    The kernels of every size on a CUDA device, captured.

    All graphs work in the same memory, because they run one after the other, on one stream. A size for which there
    is no memory is left out, and lowers the network's limit.
    """

    def __init__(self, network: TorchNetwork) -> None:
        # Partial sums of half precision would save nothing here, and cost a bit of every score.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        self._stream = _stream(network.device)
        self._graphs: dict[Size, tuple[Tensor, torch.cuda.CUDAGraph, tuple[Tensor, Tensor, Tensor]]] = {}
        pool = torch.cuda.graph_pool_handle()
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for size in network.sizes:
                if size.tokens > network.limit:
                    continue
                try:
                    inputs = torch.zeros(2 * size.tokens + size.texts + 1, dtype=torch.int32, device=network.device)
                    network.forward(inputs, size)  # libraries set themselves up, and memory runs out, outside a capture
                    self._stream.synchronize()
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                        outputs = network.forward(inputs, size)
                except torch.OutOfMemoryError as error:
                    network.shrink([TEXT_TOKENS] * size.texts, error)
                    continue
                self._graphs[size] = inputs, graph, outputs

    def launch(self, inputs: Tensor, size: Size, used: int) -> _Answer:
        if size not in self._graphs:
            raise torch.OutOfMemoryError(f"there was no memory for runs of {size.tokens} tokens")
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            static, graph, outputs = self._graphs[size]
            static.copy_(inputs.pin_memory(), non_blocking=True)
            graph.replay()
            copies = [tensor[:used].to("cpu", non_blocking=True) for tensor in outputs]
            arrived = cast("Any", torch.cuda).Event()
            arrived.record(self._stream)
        return _Answer(copies, arrived)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return one stream for each device: libraries keep memory for every stream they have seen."""
    return cast("torch.cuda.Stream", cast("Any", torch.cuda).Stream(device))


def _layers(config: Config) -> list[str]:
    return [f"encoder.layer.{layer}." for layer in range(config.num_hidden_layers)]


def _inputs(ids: Sequence[Sequence[int]], size: Size) -> NDArray[np.int32]:
    """Return what a run reads, joined: token ids, positions, where each text starts and where the last one ends."""
    lengths = np.fromiter(map(len, ids), np.int32, len(ids))
    ends = np.cumsum(lengths, dtype=np.int32)
    used = int(ends[-1])
    inputs = np.zeros(2 * size.tokens + size.texts + 1, np.int32)
    inputs[:used] = np.fromiter(chain.from_iterable(ids), np.int32, used)
    inputs[size.tokens : size.tokens + used] = np.arange(used) - np.repeat(ends - lengths, lengths)
    starts = inputs[2 * size.tokens :]
    starts[1 : len(ids) + 1] = ends
    starts[len(ids) + 1 :] = used  # texts without tokens
    return inputs


def _flash(qkv: Tensor, starts: Tensor, longest: int) -> Tensor:
    """Attend within each text, in one kernel that knows where texts start."""
    from torch.nn.attention.varlen import varlen_attn  # late: needed on CUDA only

    query, key, value = qkv.unbind(1)
    return cast("Tensor", varlen_attn(query, key, value, starts, starts, longest, longest))


def _each_text(qkv: Tensor, starts: Tensor, longest: int) -> Tensor:  # noqa: ARG001 - as `_flash`
    """Attend within each text, one after the other."""
    mixed = qkv.new_zeros(qkv[:, 0].shape)
    for start, end in pairwise(starts.tolist()):
        if start < end:
            query, key, value = qkv[start:end].permute(1, 2, 0, 3).unsqueeze(1)
            mixed[start:end] = functional.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)
    return mixed
