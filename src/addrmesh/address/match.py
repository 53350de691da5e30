"""
Do two addresses name the same place? Exact, partial or no match.

A small fitted model (`match_model`) weighs how alike the two are (`match_features`); guards (`match_guards`) decide
what no likeness may override. All read the same facts (`match_reading`). Promises, each a property in the tests: the
answer does not depend on the order of the two; an address matches itself exactly; two different numbers, units or
divisions are never an exact match; spaces, width, case and numerals do not change the answer.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from addrmesh.address.match_guards import LEVELS, Compared, Difference, Guard, Level, differences, guards
from addrmesh.address.match_model import Model, load_model
from addrmesh.address.match_reading import Reading, Side, prepare

__all__ = [
    "LABELS",
    "LEVELS",
    "Difference",
    "Match",
    "Model",
    "Reading",
    "Side",
    "guards",
    "load_model",
    "match",
    "prepare",
]

Label = Literal["exact_match", "partial_match", "not_match"]
LABELS: tuple[Label, ...] = ("not_match", "partial_match", "exact_match")
"""In the order of the training data's grades: 0, 1, 2."""


class Match(NamedTuple):
    """How two addresses relate."""

    label: Label
    probabilities: dict[Label, float]
    deepest_common_level: Level
    differences: tuple[Difference, ...]
    guards: tuple[Guard, ...]

    @property
    def score(self) -> float:
        """The probability of the label."""
        return self.probabilities[self.label]


def match(a: Side, b: Side, model: Model, chances: Sequence[float] | None = None) -> Match:
    """
    Decide whether two addresses name the same place.

    Args:
        a: One address, parsed from `prepare` of its canonical text.
        b: The other.
        model: `load_model()`.
        chances: Of each of `LABELS`, as another scorer sees them; the model is not asked then.
    """
    compared = Compared(Reading(a), Reading(b))
    x, y = compared.x, compared.y
    found = compared.guards()
    if not found and x.plain and x.plain == y.plain:
        chances = [0.0, 0.0, 1.0]
    else:
        chances = model.probabilities(compared).tolist() if chances is None else chances
        if found:
            other = chances[0] + chances[1]
            chances = [chances[0] / other, chances[1] / other, 0.0] if other > 0 else [0.0, 1.0, 0.0]
            if compared.divided is not None and compared.divided < 2:
                chances = [1.0, 0.0, 0.0]  # the same road in two cities
    best = max(range(3), key=chances.__getitem__)
    return Match(
        LABELS[best],
        {LABELS[i]: chances[i] for i in (2, 1, 0)},
        compared.level(),
        tuple(differences(x, y)),
        found,
    )
