"""
Where the engine's time goes: features, network, decoding, and the whole `Tagger.predict`, in microseconds per address.

    .venv/bin/python bench/engine.py

One thread on one core, in this process, batches of 1, 8 and 32 texts in arrival order. The parts are the tagger's own
code, each run alone on what the part before gave it; a round measures all parts of a batch size one after the other.
CPU time of the thread, so that other processes on the core do not count.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from addresses import distinct
from addrmesh.address.decode import legal_spans
from addrmesh.address.normalize import normalize
from addrmesh.inference.features import Inputs
from addrmesh.inference.release import BUILTIN, open_release
from addrmesh.inference.tagger import Tagger
from processes import ONE_THREAD, SERVED
from results import Run, arguments

if TYPE_CHECKING:
    import numpy as np

os.environ.update(ONE_THREAD)

BATCHES = (1, 8, 32)
Outputs = list["np.ndarray[Any, Any]"]


class Given:
    """Stands where the features or the session of a tagger are, and returns what it was given."""

    def __init__(self) -> None:
        self.value: Any = None

    def __call__(self, _: Sequence[str]) -> Inputs:
        return self.value

    def run(self, *_: object) -> Outputs:
        return self.value


class Network(Tagger):
    """A tagger whose first two parts can be run alone."""

    def features(self, texts: Sequence[str]) -> Inputs:
        """Texts to the network's inputs."""
        return self._featurize(texts)

    def network(self, inputs: Inputs) -> Outputs:
        """Inputs to scores, tags and certainties."""
        given = {name: getattr(inputs, name) for name in ("characters", "pairs", "gazetteer", "lengths")}
        return self._session.run(None, given)


class Decoder(Tagger):
    """A tagger whose features and outputs are given: what is left is decoding."""

    def __init__(self, release: Any) -> None:
        super().__init__(release)
        self._featurize = self.inputs = Given()  # type: ignore[assignment]
        self._session = self.outputs = Given()  # type: ignore[assignment]

    def decode(self, texts: Sequence[str], inputs: Inputs, outputs: Outputs) -> object:
        """Outputs to components."""
        self.inputs.value, self.outputs.value = inputs, outputs
        return self._run(texts)


def searched(groups: Sequence[Sequence[str]], outputs: Sequence[Outputs]) -> float:
    """Return the percentage of texts whose best tags are no legal sequence, so that decoding has to search."""
    illegal = [
        legal_spans(row[: len(text)]) is None
        for group, (_, tags, _) in zip(groups, outputs, strict=True)
        for text, row in zip(group, tags.T.tolist(), strict=True)
    ]
    return 100 * sum(illegal) / len(illegal)


def us_per_address(work: Callable[[], object], addresses: int) -> float:
    """Return the CPU microseconds per address of one pass."""
    before = time.thread_time()
    work()
    return 1e6 * (time.thread_time() - before) / addresses


def main() -> None:
    """Measure and write `engine.json`."""
    options = arguments("Parts of the engine, in CPU us per address.", addresses=2048, rounds=9).parse_args()
    os.sched_setaffinity(0, {SERVED})
    run = Run("engine", options)
    release = open_release(options.release or BUILTIN)
    tagger, decoder = Network(release), Decoder(release)
    raw = distinct(options.addresses)
    texts = [normalize(address).text for address in raw]
    tagger.predict(texts[:64])
    measured: dict[str, list[float]] = {}
    for number in range(1, options.rounds + 1):
        normalising = us_per_address(lambda: [normalize(address) for address in raw], len(raw))
        run.add("normalize", number, {"us_per_address": normalising})
        measured.setdefault("normalize", []).append(normalising)
        for size in BATCHES:
            groups = [texts[at : at + size] for at in range(0, len(texts), size)]
            inputs = [tagger.features(group) for group in groups]
            outputs = [tagger.network(given) for given in inputs]
            parts: dict[str, Callable[[], object]] = {
                "whole predict": lambda groups=groups: [tagger.predict(group) for group in groups],
                "features": lambda groups=groups: [tagger.features(group) for group in groups],
                "network": lambda inputs=inputs: [tagger.network(given) for given in inputs],
                "decode": lambda groups=groups, inputs=inputs, outputs=outputs: [
                    decoder.decode(*given) for given in zip(groups, inputs, outputs, strict=True)
                ],
            }
            found = {name: us_per_address(part, len(texts)) for name, part in parts.items()}
            run.add(f"batch {size}", number, {f"{name}, us_per_address": value for name, value in found.items()})
            for name, value in found.items():
                measured.setdefault(f"batch {size}: {name}", []).append(value)
    for what, values in measured.items():
        run.row(what, values, "us per address")
    run.row("texts that decoding has to search", [searched(groups, outputs)], "% of texts")
    run.note("CPU time of one thread. `predict` sorts a batch by length before it runs; the parts take it as it came.")
    run.write()


if __name__ == "__main__":
    main()
