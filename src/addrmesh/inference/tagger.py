"""
The built-in model: a small int8 tagger in onnxruntime, on one thread.

Rows of a batch run together, sorted by length and padded to the longest, and still no row can tell which others it
ran with. A quantised LSTM scales its activations by their largest value in the batch, so the exported network
carries units that always reach the bound (`training/export.py`): the scale is the same in every batch, and the
integer arithmetic between is exact.
"""

from bisect import bisect_right
from collections.abc import Sequence

import msgspec
import numpy as np
import onnxruntime

from addrmesh.address import gazetteer
from addrmesh.address.decode import DECODER_VERSION, best_tags, legal_spans
from addrmesh.address.labels import TAGS
from addrmesh.address.normalize import NORMALIZER_VERSION
from addrmesh.address.types import COMPONENT_TYPES, Component
from addrmesh.errors import EngineError, ReleaseError
from addrmesh.inference.features import Featurizer, Vocabulary
from addrmesh.inference.release import Release

ROWS = 12
"""Rows in one run. Of 6 to 32, this was fastest: more rows share the cost of a step, but rows of a run are padded to
its longest."""


class Tagger:
    """An engine over the release's `model.onnx` and `vocabulary.json`."""

    quick = True

    def __init__(self, release: Release) -> None:
        manifest = release.manifest
        for what, asked, here in (
            ("normaliser version", manifest.normalizer_version, NORMALIZER_VERSION),
            ("decoder version", manifest.decoder_version, DECODER_VERSION),
            ("gazetteer", manifest.gazetteer_sha256, gazetteer.digest()),
            ("tags", manifest.tags, TAGS),
        ):
            if asked != here:
                raise ReleaseError(
                    f"release {release.id} was made with {what} {asked}, this addrmesh has {here}; "
                    "use the addrmesh version the release was made with, or another release"
                )
        self.release = release
        self._featurize = Featurizer(msgspec.json.decode(release.read("vocabulary.json"), type=Vocabulary))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                release.read("model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ReleaseError(f"the model of release {release.id} cannot be loaded: {type(error).__name__}") from error
        calibration = manifest.calibration
        self._raw, self._probability = list(calibration.score), list(calibration.probability)

    def predict(self, texts: Sequence[str]) -> list[tuple[Component, ...]]:
        """Find the components of each canonical text; see `Engine.predict`."""
        if len(texts) == 1:
            return self._run(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        result: list[tuple[Component, ...]] = [()] * len(texts)
        for at in range(0, len(order), ROWS):
            rows = order[at : at + ROWS]
            for row, components in zip(rows, self._run([texts[i] for i in rows]), strict=True):
                result[row] = components
        return result

    def close(self) -> None:
        """Let go of the session."""
        del self._session

    def _run(self, texts: Sequence[str]) -> list[tuple[Component, ...]]:
        inputs = self._featurize(texts)
        try:
            scores, tags, sure = self._session.run(
                None,
                {
                    "characters": inputs.characters,
                    "pairs": inputs.pairs,
                    "gazetteer": inputs.gazetteer,
                    "lengths": inputs.lengths,
                },
            )
        except Exception as error:
            raise EngineError(f"onnxruntime failed on a batch of {len(texts)} ({type(error).__name__})") from error
        tag_columns, sure_columns = tags.T.tolist(), sure.T.tolist()
        result = []
        for i, text in enumerate(texts):
            length = len(text)
            certainty = sure_columns[i]
            spans = legal_spans(tag_columns[i][:length])
            if spans is None:
                best = best_tags(scores[:length, i])
                spans = legal_spans(best) or []
                certainty = _certainty(scores[:length, i], best)
            result.append(
                tuple(
                    [
                        Component(COMPONENT_TYPES[kind], start, end, self._calibrate(min(certainty[start:end])))
                        for kind, start, end in spans
                    ]
                )
            )
        return result

    def _calibrate(self, raw: float) -> float:
        upper = bisect_right(self._raw, raw)
        if upper == 0:
            return self._probability[0]
        if upper == len(self._raw):
            return self._probability[-1]
        low, high = self._raw[upper - 1], self._raw[upper]
        share = (raw - low) / (high - low)
        return self._probability[upper - 1] + share * (self._probability[upper] - self._probability[upper - 1])


def _certainty(scores: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", tags: list[int]) -> list[float]:
    weights = np.exp(scores - scores.max(1, keepdims=True))
    chosen = weights[np.arange(len(tags)), tags]
    return list((chosen / weights.sum(1)).tolist())
