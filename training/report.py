"""Confidence that means something, and the page that says how good the model is."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - the backend is chosen first


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
    axis.plot([confidence[which == b].mean() for b in shown], [right[which == b].mean() for b in shown], "o-", color="#1b6ca8")
    for b in shown:
        axis.annotate(str((which == b).sum()), (confidence[which == b].mean(), right[which == b].mean()), fontsize=7, xytext=(3, -9), textcoords="offset points")
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=edges[::2], xlabel="confidence", ylabel="share that is right", title="Reliability, CCKS dev (spans per point)")
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)


def plot_history(file: Path, history: Sequence[dict]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), dpi=110)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], "o-", color="#1b6ca8")
    left.set(xlabel="epoch", ylabel="loss", title="Student: training loss")
    for key, label in (("ccks", "CCKS dev, all types"), ("naacl", "NAACL dev, ten types"), ("roomno", "NAACL dev, roomno")):
        right.plot(epochs, [row[key] for row in history], "o-", label=label)
    right.set(xlabel="epoch", ylabel="span F1", title="Student: tuning sets")
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
