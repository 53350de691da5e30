"""SEAM: the engine. It owns one loaded release on one device and answers batches of canonical texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from addrmesh.address.types import Component
from addrmesh.errors import ConfigError, ReleaseError
from addrmesh.inference.release import IN_TORCH, Release

if TYPE_CHECKING:
    from addrmesh.inference.mgeo.align import Aligner
    from addrmesh.inference.mgeo.engine import PairScorer


class Engine(Protocol):
    """A loaded model. Not thread-safe: one caller at a time, which is the batcher's worker thread."""

    release: Release
    quick: bool
    """Whether a batch takes only milliseconds, so that the event loop may wait for it."""

    def predict(self, texts: Sequence[str]) -> list[tuple[Component, ...]]:
        """
        Find the components of each canonical text.

        Args:
            texts: Canonical texts (`address.normalize`), each 1 to `release.limits.max_code_points` long.

        Returns:
            For each text, in order, its components by position; positions are those of the canonical text.
            The answer for a text does not depend on the other texts.

        Raises:
            EngineError: The model failed; none of the batch is answered.
        """
        ...

    def close(self) -> None:
        """Release the model's memory. The engine must not be used afterwards."""
        ...


def load_engine(release: Release, device: str = "auto") -> Engine:
    """
    Load the engine that runs the release's model family.

    Args:
        release: An opened one.
        device: `cpu`, `cuda`, `cuda:N`, or `auto`: the first GPU where the release can use one, and the CPU elsewhere.

    Raises:
        ReleaseError: The family is unknown here, or the model does not fit this version of addrmesh.
        ConfigError: The device is not here, or the release cannot use it.
        EngineError: The device fails.
    """
    family, task, precision = release.manifest.family, release.manifest.task, release.manifest.precision
    if device.startswith("cuda") and precision not in IN_TORCH:
        raise ConfigError(
            f"engine.device: found {device}, but release {release.id} is in {precision}, which runs on the CPU; "
            "say auto, or build the release with --precision bf16"
        )
    match family, task:
        case "bilstm-bies", _:
            from addrmesh.inference.tagger import Tagger  # late: onnxruntime takes 60 ms to import

            return Tagger(release)
        case "mgeo-bert", "elements-tagging" if precision in IN_TORCH:
            try:
                from addrmesh.inference.mgeo.torch_engine import TorchTagger
            except ImportError as error:
                raise ReleaseError(
                    f"release {release.id} is in {precision} and needs torch; pip install 'addrmesh[gpu]'"
                ) from error
            return TorchTagger(release, device)
        case "mgeo-bert", "elements-tagging":
            from addrmesh.inference.mgeo.engine import MGeoTagger

            return MGeoTagger(release)
        case "mgeo-bert", _:
            raise _wrong(release, "elements-tagging")
        case _:
            raise ReleaseError(
                f"release {release.id} holds a model of family {family!r}; this addrmesh runs bilstm-bies and mgeo-bert"
            )


def load_aligner(release: Release) -> "Aligner":
    """Load what scores pairs for matching; ReleaseError if the release is for something else or does not fit here."""
    if release.manifest.task != "entity-alignment":
        raise _wrong(release, "entity-alignment")
    from addrmesh.inference.mgeo.align import Aligner

    return Aligner(release)


def load_ranker(release: Release) -> "PairScorer":
    """Load what scores candidates for a query; ReleaseError as for `load_aligner`."""
    if release.manifest.task != "rerank":
        raise _wrong(release, "rerank")
    from addrmesh.inference.mgeo.engine import PairScorer

    return PairScorer(release)


def _wrong(release: Release, task: str) -> ReleaseError:
    return ReleaseError(
        f"release {release.id} is for {release.manifest.task}, asked for is one for {task}: elements-tagging is for a "
        "node's release.path and `addrmesh parse`, entity-alignment for match.release and `addrmesh match`, rerank for "
        "`addrmesh rerank`"
    )
