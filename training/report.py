"""Confidence that means something, and the page that says how good the model is."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
import matplotlib.pyplot as plt


def fit_calibration(raw: NDArray, right: NDArray, knots: int = 16) -> dict[str, list[float]]:
    """Return a monotone piecewise-linear map from raw score to the share that is right, by bins of equal count."""
    order = np.argsort(raw)
    bins = np.array_split(order, knots)
    x = [float(raw[b].mean()) for b in bins]
    y = np.maximum.accumulate([(right[b].sum() + 0.5) / (len(b) + 1) for b in bins])
    points = sorted({round(a, 5): round(float(b), 4) for a, b in zip(x, y, strict=True)}.items())
    return {"score": [a for a, _ in points], "probability": [b for _, b in points]}


def apply_calibration(calibration: dict[str, list[float]], raw: NDArray) -> NDArray:
    return np.interp(raw, calibration["score"], calibration["probability"])


def calibration_error(confidence: NDArray, right: NDArray, bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal width (Guo et al. 2017, equation 3)."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    parts = [(which == b) for b in range(bins)]
    return float(sum(p.sum() * abs(confidence[p].mean() - right[p].mean()) for p in parts if p.any()) / len(right))


def cross_fitted(raw: NDArray, right: NDArray) -> NDArray:
    """Return calibrated confidences, each from a map fitted without its half."""
    half = np.arange(len(raw)) % 2 == 0
    result = np.empty(len(raw))
    for part in (half, ~half):
        result[part] = apply_calibration(fit_calibration(raw[~part], right[~part]), raw[part])
    return result


def plot_reliability(file: Path, confidence: NDArray, right: NDArray) -> None:
    edges = np.linspace(0, 1, 11)
    which = np.minimum((confidence * 10).astype(int), 9)
    shown = [b for b in range(10) if (which == b).any()]
    figure, axis = plt.subplots(figsize=(4.2, 4), dpi=110)
    axis.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axis.plot(
        [confidence[which == b].mean() for b in shown], [right[which == b].mean() for b in shown], "o-", color="#1b6ca8"
    )
    for b in shown:
        axis.annotate(
            str((which == b).sum()),
            (confidence[which == b].mean(), right[which == b].mean()),
            fontsize=7,
            xytext=(3, -9),
            textcoords="offset points",
        )
    axis.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xticks=edges[::2],
        xlabel="confidence",
        ylabel="share that is right",
        title="Reliability, CCKS dev (spans per point)",
    )
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)


def plot_history(file: Path, history: Sequence[dict]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), dpi=110)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], "o-", color="#1b6ca8")
    left.set(xlabel="epoch", ylabel="loss", title="Student: training loss")
    for key, label in (
        ("ccks", "CCKS dev, all types"),
        ("naacl", "NAACL dev, ten types"),
        ("roomno", "NAACL dev, roomno"),
    ):
        right.plot(epochs, [row[key] for row in history], "o-", label=label)
    right.set(xlabel="epoch", ylabel="span F1", title="Student: tuning sets")
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)


def model_card(
    *, measured: dict, reference: dict, error: float, size: int, digest: str, data, words, hidden: int, source: str
) -> str:
    """Write the card from what was measured just now."""
    ccks, naacl = measured["ccks"], measured["naacl"]
    rows = "\n".join(f"| {name} | {row['f1']:.1f} | {row['count']} |" for name, row in ccks.table().items())
    naacl_rows = "\n".join(f"| {name} | {row['f1']:.1f} | {row['count']} |" for name, row in naacl.table().items())
    return f"""# addrmesh-small

Tags the parts of a Chinese address: province, city, district, road, number, POI, room and eleven more.
Made by `{source}`; `model.onnx` has {size:,} bytes, sha256 `{digest}`.

## What it is

Character ({len(words.characters):,}), character-pair ({len(words.pairs):,}) and gazetteer embeddings, one bidirectional LSTM of {hidden} units a side,
73 tags (BIES over MGeo's 17 types and `roomno`, and `O`), int8. Digits are read as `0`, latin letters as `A`.
Taught by the mean of four larger taggers of the same kind on all texts, moved about China by exchanging divisions and
covered with names, phones, postcodes, notes and typing errors, which are generated.

## How good it is

Span F1, exact place and type, on the development sets it was tuned on (never trained on). Expect about one point less on new text.

| set | int8, as shipped | fp32 |
| --- | --- | --- |
| CCKS 2021, {len(data.ccks_dev)} addresses, all types | {ccks.f1():.2f} | {reference["ccks"].f1():.2f} |
| NAACL 2019, {len(data.naacl_dev)} addresses, ten comparable types | {naacl.f1():.2f} | {reference["naacl"].f1():.2f} |
| NAACL 2019, `roomno` | {naacl.f1("roomno"):.2f} | {reference["naacl"].f1("roomno"):.2f} |

Confidence is calibrated on the CCKS development set: expected calibration error {error:.3f} (ten bins, each half judged by the map fitted on the other).

| type (CCKS) | F1 | spans |
| --- | --- | --- |
{rows}

| type (NAACL) | F1 | spans |
| --- | --- | --- |
{naacl_rows}

## What it was trained on

| source | use | licence |
| --- | --- | --- |
| CCKS 2021 track 2 (Alibaba DAMO Academy), {len(data.ccks):,} addresses | labels | none stated by the source |
| NAACL 2019 "Neural Chinese Address Parsing" (Li, Lu, Xie, Li), {len(data.naacl):,} addresses | labels of rooms, units, floors | none stated by the source |
| CCKS 2021 tracks 2 and 3, {len(data.unlabelled):,} texts | no labels | none stated by the source |
| NBS divisions 2023-06-30 (via china-division) | gazetteer | WTFPL / MIT |
| MCA county codes 1981-2024 (via areacodes) | gazetteer | CC0 1.0 |

No text of the labelled sets is in the package. Whoever redistributes the weights should clear the first three sources for their case.

## Limits

- Four of five labelled addresses are in Zhejiang; the gazetteer and the exchanged divisions carry the rest of the country.
- Roads, POIs and communities are a matter of opinion: two annotators of the same texts agree at about 94 F1 (measured on the sources' own duplicates).
- Hong Kong, Macao and Taiwan only as far as they resemble the mainland's form; pinyin and English are not parsed.
- Numbers are read by their place, not their value: "2808" is never split into floor and room.
- A component is what the text says. Whether the place exists is not known to this model.
"""
