"""Span F1 as the papers count it: a span is right when its place and its type are."""

from collections import Counter
from collections.abc import Iterable, Sequence

from corpus import Span

NAACL_NAMES = {"subroad": "road", "subroadno": "roadno"}
COMPARABLE = ("road", "district", "city", "roadno", "town", "prov", "houseno", "roomno", "cellno", "floorno")
"""The NAACL labels that mean the same in the merged scheme."""


class Score:
    """True positives, predictions and gold spans, by type."""

    def __init__(
        self, gold: Iterable[Sequence[Span]], found: Iterable[Sequence[Span]], types: Sequence[str] | None = None
    ) -> None:
        self.right: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.gold: Counter[str] = Counter()
        for expected, got in zip(gold, found, strict=True):
            want = {span for span in expected if types is None or span[0] in types}
            have = {span for span in got if types is None or span[0] in types}
            self.right.update(name for name, *_ in want & have)
            self.found.update(name for name, *_ in have)
            self.gold.update(name for name, *_ in want)

    def f1(self, name: str | None = None) -> float:
        """Return F1 in percent, of one type or of all."""
        pick = (lambda c: c[name]) if name else (lambda c: c.total())
        return 200 * pick(self.right) / max(1, pick(self.found) + pick(self.gold))

    def table(self) -> dict[str, dict[str, float]]:
        """Return F1 and gold count by type, most frequent first."""
        return {name: {"f1": round(self.f1(name), 1), "count": count} for name, count in self.gold.most_common()}


def comparable(example_spans: Sequence[Span]) -> list[Span]:
    """Rename NAACL spans to the merged scheme."""
    return [(NAACL_NAMES.get(name, name), start, end) for name, start, end in example_spans]


def repeats_division(text: str, spans: Sequence[Span]) -> bool:
    """Tell whether the text repeats an administrative part, which NAACL labels `redundant` and CCKS labels again."""
    divisions = {text[start:end] for name, start, end in spans if name in ("prov", "city", "district", "town")}
    waste = [text[start:end] for name, start, end in spans if name == "redundant"]
    return any(
        part in piece or (len(piece) > 1 and piece in part) for piece in waste for part in divisions if len(part) > 1
    )
