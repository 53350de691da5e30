"""
Entity alignment as an engine: the batcher gives it pairs of texts, and `questions.Matching` what it says of them.

Unlike `PairScorer`, which does as ModelScope's pipelines do, it reads nothing in a text as a special token: here the
texts are a caller's, who must not be able to end one early.
"""

from collections.abc import Sequence

from addrmesh.address.match import LABELS
from addrmesh.address.questions import Scored
from addrmesh.errors import ReleaseError
from addrmesh.inference.mgeo.engine import PairScorer
from addrmesh.inference.release import Release


class Aligner:
    """
    An engine for pairs; see `inference.batcher.Runs`.

    Args:
        release: Of the task entity-alignment.
    """

    quick = False

    def __init__(self, release: Release) -> None:
        if set(release.manifest.tags) != set(LABELS):
            raise ReleaseError(
                f"release {release.id} has the labels {', '.join(release.manifest.tags)}; expected {', '.join(LABELS)}"
            )
        self.release = release
        self._scorer = PairScorer(release)

    def predict(self, pairs: Sequence[tuple[str, str]]) -> list[Scored]:
        """Score each pair; the answer for one does not depend on the others, but on the order of its two texts."""
        found = self._scorer.score([(literal(first), literal(second)) for first, second in pairs])
        return [Scored(self.release.id, tuple([scores[label] for label in LABELS])) for scores in found]

    def close(self) -> None:
        """Let go of the network."""
        self._scorer.close()


def literal(text: str) -> str:
    """Return a text of the same tokens, but that none is special: a blank has no token, and ends `[SEP` early."""
    return text.replace("[", "[ ")
