"""
MGeo on the CPU: a built release in onnxruntime, on one thread.

Texts of a run are laid one behind the other without padding (`network`), so no answer depends on what ran with it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from addrmesh.address.normalize import NORMALIZER_VERSION
from addrmesh.address.types import Component
from addrmesh.errors import EngineError, ReleaseError
from addrmesh.inference.mgeo.checkpoint import vocabulary_of
from addrmesh.inference.mgeo.decode import DECODER_VERSION, Compatible, Strict
from addrmesh.inference.mgeo.tokenizer import Tokenizer
from addrmesh.inference.release import Release

RUN_TOKENS = 256
"""Tokens of one run, about ten addresses: more do not make a token cheaper, and attention pads to the longest."""

Array = NDArray[np.int32] | NDArray[np.float32] | NDArray[np.int64]


class Network(Protocol):
    """What runs the kernels: onnxruntime here, torch in `torch_engine`."""

    def run(
        self, rows: Iterable[int], ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None
    ) -> Iterator[tuple[list[int], list[Array]]]:
        """Run the given rows, some at a time; yield which, and the network's outputs for them."""
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


class MGeoTagger:
    """
    An engine for elements tagging; see `inference.engine.Engine`.

    Args:
        release: Of the task elements-tagging.
        network: Instead of the release's graph in onnxruntime.
    """

    quick = False

    def __init__(self, release: Release, network: Network | None = None) -> None:
        self.release = release
        self.tokenizer = _tokenizer(release)
        self._network = network or _Network(release)
        strict = release.manifest.decoding == "strict"
        self._encode = self.tokenizer.characters if strict else self.tokenizer.words
        self._decode = (Strict if strict else Compatible)(release.manifest.tags)

    def predict(self, texts: Sequence[str]) -> list[tuple[Component, ...]]:
        """Find the components of each canonical text; see `Engine.predict`."""
        encoded = [self._encode(text) for text in texts]
        result: list[tuple[Component, ...]] = [()] * len(texts)
        wanted = [i for i, one in enumerate(encoded) if one.labelled]
        for rows, (scores, tags, sure) in self._network.run(wanted, [one.ids for one in encoded]):
            at = 0
            for row in rows:
                ids, labelled, places = encoded[row]
                tokens = np.array(labelled) + at
                at += len(ids)
                row_scores, best = scores[tokens], tags[tokens].tolist()
                spans, chosen = self._decode.spans(best, row_scores)
                certainty = sure[tokens].tolist() if chosen == best else _certainty(row_scores, chosen)
                result[row] = tuple(
                    Component(kind, places[start][0], places[end - 1][1], min(certainty[start:end]))
                    for kind, start, end in spans
                )
        return result

    def close(self) -> None:
        """Let go of the network."""
        self._network.close()


class PairScorer:
    """
    Entity alignment, or rerank: what two addresses have to do with each other, from their text alone.

    The tokens are those of ModelScope's pipelines; special tokens in the texts are obeyed as there.
    """

    def __init__(self, release: Release) -> None:
        self.release = release
        self._tokenizer = _tokenizer(release)
        self._network = _Network(release)
        self._ranks = release.manifest.task == "rerank"

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
        """
        Score each pair.

        Returns:
            The probability of each label in the model's order: `exact_match`, `partial_match`, `not_match`, or the
            one `score` of rerank. The answer for a pair does not depend on the other pairs.
        """
        logits = self.logits(pairs)
        if self._ranks:
            chances = 1 / (1 + np.exp(-logits))
        else:
            weights = np.exp(logits - logits.max(1, keepdims=True))
            chances = weights / weights.sum(1, keepdims=True)
        return [dict(zip(self.release.manifest.tags, row, strict=True)) for row in chances.tolist()]

    def logits(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """Return the network's raw scores, one row for each pair."""
        tokens = [self._tokenizer.pair(*pair) for pair in pairs]
        # Rerank and the tagger read all tokens as of the first text, as the published code does.
        types = None if self._ranks else [types for _, types in tokens]
        result = np.zeros((len(pairs), len(self.release.manifest.tags)))
        for rows, (scores,) in self._network.run(range(len(pairs)), [ids for ids, _ in tokens], types):
            result[rows] = scores
        return result

    def close(self) -> None:
        """Let go of the session."""
        self._network.close()


class _Network:
    def __init__(self, release: Release) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The graph is written as it should run; what onnxruntime would fuse beyond that is slower.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            self._session = onnxruntime.InferenceSession(
                release.path / "model.onnx", options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ReleaseError(f"the model of release {release.id} cannot be loaded: {type(error).__name__}") from error

    def run(
        self, rows: Iterable[int], ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None
    ) -> Iterator[tuple[list[int], list[Array]]]:
        for group in _groups(sorted(rows, key=lambda row: len(ids[row])), ids):
            inputs = layout([ids[row] for row in group], types and [types[row] for row in group])
            try:
                outputs = self._session.run(None, inputs)
            except Exception as error:
                raise EngineError(f"onnxruntime failed on a batch of {len(group)} ({type(error).__name__})") from error
            yield group, outputs

    def close(self) -> None:
        del self._session


def layout(ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> Mapping[str, Array]:
    """Return the inputs of the network for some texts; `network.build` says what they are."""
    lengths = np.fromiter(map(len, ids), np.int32, len(ids))
    starts = np.cumsum(lengths, dtype=np.int32) - lengths
    column = np.arange(lengths.max(), dtype=np.int32)
    inside = column < lengths[:, None]
    flat = np.concatenate([np.asarray(row, np.int32) for row in ids])
    return {
        "ids": flat,
        "types": np.zeros_like(flat) if types is None else np.concatenate([np.asarray(t, np.int32) for t in types]),
        "positions": np.broadcast_to(column, inside.shape)[inside],
        "gather": np.where(inside, starts[:, None] + column, 0),
        "lengths": lengths,
        "scatter": np.flatnonzero(inside).astype(np.int32),
    }


def _groups(rows: Sequence[int], ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    group: list[int] = []
    tokens = 0
    for row in rows:
        if group and tokens + len(ids[row]) > RUN_TOKENS:
            yield group
            group, tokens = [], 0
        group.append(row)
        tokens += len(ids[row])
    if group:
        yield group


def _tokenizer(release: Release) -> Tokenizer:
    manifest = release.manifest
    for what, asked, here in (
        ("normaliser version", manifest.normalizer_version, NORMALIZER_VERSION),
        ("decoder version", manifest.decoder_version, DECODER_VERSION),
    ):
        if asked != here:
            raise ReleaseError(
                f"release {release.id} was made with {what} {asked}, this addrmesh has {here}; build it again"
            )
    vocabulary = vocabulary_of(release.read("vocab.txt"), release.path / "vocab.txt")
    return Tokenizer(vocabulary, manifest.limits.max_tokens or manifest.limits.max_code_points + 2)


def _certainty(scores: NDArray[np.float32], chosen: Sequence[int]) -> list[float]:
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return list((weights[np.arange(len(chosen)), chosen] / weights.sum(1)).tolist())
