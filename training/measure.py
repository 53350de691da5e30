"""Span F1 as the papers count it: a span is right when its place and its type are."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from corpus import Span

HAN = re.compile("[\u4e00-\u9fff]")
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


def has_waste(text: str, spans: Sequence[Span]) -> bool:
    """Tell whether words of the text are labelled `redundant`: mostly repeated divisions, which CCKS labels again."""
    return any(name == "redundant" and len(HAN.findall(text[start:end])) >= 2 for name, start, end in spans)
