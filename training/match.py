"""
Fit the match scorer to labelled pairs, and write it with its card.

    nice python training/match.py ../shared/data          # about ten minutes on one core, after train.py
    nice python training/match.py ../shared/data --card   # measure again what ships, after a change of guards or tagger

The vectors of characters come from the tagger's pre-training (`work/pretrain.pkl`). A fifth of the queries is kept
from a first fit to choose how much the network counts against the trees and how far the rare labels are lifted; then
everything is fitted again on all pairs. The development pairs are looked at once, through the code that ships. Seeds
are fixed, one thread.
"""

import argparse
import hashlib
import itertools
import lzma
import pickle
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
import scipy.sparse
import torch
from pypinyin import lazy_pinyin
from sklearn.linear_model import LogisticRegression
from torch import nn

from addrmesh.address import gazetteer
from addrmesh.address.match import LABELS, Model, Reading, Side, match, prepare
from addrmesh.address.match_features import (
    RARITY,
    TOKENS,
    TYPE,
    WRITTEN,
    Likeness,
    Tables,
    begins,
    bucket,
    facts,
    style,
    tokens,
)
from addrmesh.address.match_guards import Compared
from addrmesh.address.match_model import MODEL_VERSION, WIDTH, Weights, flags, ordered, read_model
from addrmesh.address.normalize import normalize
from addrmesh.inference.engine import load_engine
from addrmesh.inference.release import BUILTIN, open_release

ROOT = Path(__file__).parent.parent
WORK = Path(__file__).parent / "work"
MODEL = ROOT / "src" / "addrmesh" / "address" / "match_model.bin"
CARD = ROOT / "docs" / "reference" / "match-card.md"
SEED = 20211124
FOLDS = 5
CHARACTERS, VECTOR, TYPE_VECTOR, HIDDEN, COMPARE, FACTS, TOP = 2400, 48, 12, 96, 64, 48, 64
EPOCHS, BATCH, RATE = 6, 64, 1.5e-3
TREES = {
    "objective": "multiclass", "num_class": 3, "learning_rate": 0.06, "num_leaves": 16, "max_depth": 6, "min_data_in_leaf": 20,
    "feature_fraction": 0.3, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5, "num_threads": 1, "verbose": -1,
    "seed": SEED, "deterministic": True,
}  # fmt: skip
ROUNDS = 150


class Pairs:
    """Labelled pairs and the parses of their texts."""

    def __init__(self, file: Path, engine) -> None:
        rows = [line.split("\t") for line in file.read_text("utf-8").splitlines()]
        self.query = [row[0] for row in rows]
        self.label = np.array([int(row[2]) for row in rows])
        clean = {text: prepare(normalize(text).text) for row in rows for text in row[:2]}
        self.first = [clean[row[0]] for row in rows]
        self.second = [clean[row[1]] for row in rows]
        texts = sorted(set(clean.values()) - {""})
        self.side = {"": Side("", ())}
        for at in range(0, len(texts), 600):
            part = texts[at : at + 600]
            self.side |= {t: Side(t, c) for t, c in zip(part, engine.predict(part), strict=True)}


# ---------------------------------------------------------------- what is known of characters


def sounds() -> dict[int, int]:
    """Return of each character that is spoken like another, the first that is spoken so."""
    first: dict[str, int] = {}
    spoken = {code: first.setdefault(lazy_pinyin(chr(code))[0], code) for code in range(0x4E00, 0xA000)}
    return {code: heard for code, heard in spoken.items() if code != heard}


def rarities(texts: list[str]) -> bytes:
    """Return how rare pairs of characters are."""
    seen = np.zeros(RARITY)
    for text in texts:
        plain = Reading(Side(text, ())).plain
        for one in {bucket(plain[i : i + 2]) for i in range(len(plain) - 1)}:
            seen[one] += 1
    return np.round(np.log(len(texts) / (1 + seen)) * 20).clip(0, 255).astype(np.uint8).tobytes()


def vectors(characters: str) -> np.ndarray:
    """Return a vector per character: the leading directions of those that the tagger was pre-trained to."""
    with (WORK / "pretrain.pkl").open("rb") as file:
        trained = pickle.load(file)["character.weight"].float().numpy()  # noqa: S301 - ours
    with (WORK / "vocabulary.pkl").open("rb") as file:
        known = {c: i for i, c in enumerate(pickle.load(file).characters, start=3)}  # noqa: S301 - ours
    centred = trained[3:] - trained[3:].mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    leading = (u * s)[:, :VECTOR]
    rest = np.random.default_rng(SEED).normal(0, leading.std(), (len(characters), VECTOR))
    found = np.array([leading[known[c] - 3] if c in known else rest[i] for i, c in enumerate(characters)])
    return found / found.std() * 0.3


def written(pairs: Pairs, readings: dict[str, Reading]) -> np.ndarray:
    """Return the weight of each bucket of `style`: queries are written by somebody, candidates are a map's entries."""
    rows = indicator([style(_folded(text), reading) for text, reading in readings.items()], WRITTEN)
    place = {text: i for i, text in enumerate(readings)}
    apart = rows[[place[t] for t in pairs.first]] - rows[[place[t] for t in pairs.second]]
    fit = LogisticRegression(C=0.1, fit_intercept=False, max_iter=60)
    fit.fit(scipy.sparse.vstack([apart, -apart]), np.repeat([1, 0], len(pairs.first)))
    weight = fit.coef_[0]
    print(f"written before map: {(apart @ weight > 0).mean():.3f} of the pairs")
    return np.round(weight / np.abs(weight).max() * 127).astype(np.int8)


def _folded(text: str) -> str:
    return "".join("0" if c in "123456789" else c for c in text)


def indicator(sets: list[set[int]], width: int) -> scipy.sparse.csr_matrix:
    """Return a row per set, with a one at each of its members."""
    ends = np.cumsum([0, *map(len, sets)])
    columns = np.fromiter((one for members in sets for one in sorted(members)), np.int64, int(ends[-1]))
    return scipy.sparse.csr_matrix((np.ones(len(columns)), columns, ends), (len(sets), width))


# ---------------------------------------------------------------- pairs as the models see them


class Inputs:
    """All pairs, each in the order the models read it: facts, tokens, and both texts for the network."""

    def __init__(self, pairs: Pairs, sides: dict[str, Likeness], characters: str) -> None:
        number = {c: i for i, c in enumerate(characters + "0123456789", start=1)}
        place = {text: i for i, text in enumerate(sides)}
        self.characters = torch.zeros(len(sides), WIDTH, dtype=torch.long)
        self.types = torch.zeros(len(sides), WIDTH, dtype=torch.long)
        self.lengths = torch.ones(len(sides), dtype=torch.long)
        for text, i in place.items():
            if short := text[:WIDTH]:
                self.characters[i, : len(short)] = torch.tensor([number.get(c, 0) for c in short])
                self.types[i, : len(short)] = torch.tensor(sides[text].types[:WIDTH])
                self.lengths[i] = len(short)
        count = len(pairs.first)
        self.a, self.b = torch.zeros(2, count, dtype=torch.long)
        self.hits = torch.zeros(2, count, WIDTH, 4, dtype=torch.uint8)
        self.stopped = np.zeros(count, bool)
        rows, found = [], []
        for i, (one, other) in enumerate(zip(pairs.first, pairs.second, strict=True)):
            x, y = ordered(sides[one], sides[other])
            compared = Compared(x.read, y.read)
            first = begins(x.read.text, y.read.text), begins(y.read.text, x.read.text)
            rows.append(facts(x, y, compared))
            found.append(tokens(x, y, compared, first))
            self.stopped[i] = bool(compared.guards())
            self.a[i], self.b[i] = place[x.read.text], place[y.read.text]
            for side, (mine, theirs, begin) in enumerate(((x, y, first[0]), (y, x, first[1]))):
                if text := mine.read.text[:WIDTH]:
                    self.hits[side, i, : len(text)] = torch.from_numpy(flags(text, theirs.read.text, begin))
        self.rows = np.array(rows, np.float32)
        self.tokens = indicator(found, TOKENS)
        self.tokens.data = np.repeat(1 / np.sqrt([len(one) + 1.0 for one in found]), [len(one) for one in found])

    def sides(self, index):
        for texts, hits in ((self.a, self.hits[0]), (self.b, self.hits[1])):
            at = texts[index]
            longest = int(self.lengths[at].max())
            yield (
                self.characters[at, :longest],
                self.types[at, :longest],
                hits[index, :longest].float(),
                self.lengths[at],
            )


# ---------------------------------------------------------------- the linear model and the trees


def fit_linear(inputs: Inputs, label: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and biases of two scores: partial above not, exact above partial."""
    fit = LogisticRegression(C=2, max_iter=60).fit(inputs.tokens[chosen], label[chosen])
    return np.diff(fit.coef_, axis=0).T, np.diff(fit.intercept_)


def linear_says(inputs: Inputs, weight: np.ndarray, rise: np.ndarray, index: np.ndarray) -> np.ndarray:
    scores = inputs.tokens[index] @ weight + rise
    return np.column_stack([scores, scores.sum(1)]).astype(np.float32)


def fit_trees(rows: np.ndarray, label: np.ndarray) -> lightgbm.Booster:
    return lightgbm.train(TREES, lightgbm.Dataset(rows, label), ROUNDS)


def tree_arrays(booster: lightgbm.Booster) -> dict[str, np.ndarray]:
    """Write each tree as tests, the leaves that a failed test leaves, and the values of the leaves from left to right."""
    trees = booster.dump_model()["tree_info"]
    feature = np.zeros((15, len(trees)), np.uint8)
    threshold = np.full((15, len(trees)), np.inf, np.float32)
    leaves = np.full((15, len(trees)), 0xFFFF, "<u2")
    value = np.zeros((len(trees), 16), np.float16)
    for at, tree in enumerate(trees):
        tests = leaf = 0

        def walk(node: dict) -> None:
            nonlocal tests, leaf
            if "split_feature" not in node:
                value[at, leaf] = node["leaf_value"]  # noqa: B023
                leaf += 1
                return
            mine, begin = tests, leaf
            tests += 1
            walk(node["left_child"])
            feature[mine, at], threshold[mine, at] = node["split_feature"], node["threshold"]  # noqa: B023
            leaves[mine, at] = 0xFFFF ^ ((1 << leaf) - (1 << begin))  # noqa: B023
            walk(node["right_child"])

        walk(tree["tree_structure"])
    return {"tree.feature": feature, "tree.threshold": threshold, "tree.leaves": leaves, "tree.value": value}


# ---------------------------------------------------------------- the network


class Network(nn.Module):
    """What `Model` runs in numpy; see there."""

    def __init__(self, start: np.ndarray, known: int) -> None:
        super().__init__()
        rest = np.random.default_rng(SEED).normal(0, 0.3, (11, VECTOR))
        rows = np.concatenate([rest[:1], start, rest[1:]])
        self.character = nn.Embedding.from_pretrained(torch.tensor(rows, dtype=torch.float32), freeze=False)
        self.kind = nn.Embedding(len(TYPE), TYPE_VECTOR)
        self.conv1 = nn.Conv1d(VECTOR + TYPE_VECTOR + 4, HIDDEN, 3, padding=1, bias=False)
        self.turn = nn.Embedding.from_pretrained(torch.zeros(2, HIDDEN), freeze=False)
        self.conv2 = nn.Conv1d(HIDDEN, HIDDEN, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor(1 / 8))
        self.compare = nn.Linear(4 * HIDDEN + 4, COMPARE)
        self.facts = nn.Linear(known, FACTS)
        self.top = nn.Linear(4 * COMPARE + FACTS, TOP)
        self.out = nn.Linear(TOP, 3)
        self.drop = nn.Dropout(0.2)

    def side(self, characters, types, hits, lengths, turn: int):
        alive = (torch.arange(characters.shape[1]) < lengths[:, None]).float()[..., None]
        vectors = self.character(characters)
        if self.training:
            vectors = vectors * (torch.rand(vectors.shape[:2]) > 0.06)[..., None]
        inputs = torch.cat([self.drop(vectors), self.kind(types), hits], -1) * alive
        hidden = self.drop(torch.relu(self.conv1(inputs.mT).mT + self.turn.weight[turn]) * alive)
        return (hidden + torch.relu(self.conv2(hidden.mT)).mT) * alive, alive

    def pool(self, mine, theirs, hits, alive):
        compared = torch.cat([self.drop(torch.cat([mine, theirs, mine - theirs, mine * theirs], -1)), hits], -1)
        compared = torch.relu(self.compare(compared)) * alive
        return torch.cat([compared.max(1)[0], compared.sum(1) / alive.sum(1)], -1)

    def forward(self, a, b, known):
        (x, alive_x), (y, alive_y) = self.side(*a, 0), self.side(*b, 1)
        scores = x @ y.mT * self.sharpness
        to_y = (scores + (alive_y.mT - 1) * 1e4).softmax(2) @ y
        to_x = (scores + (alive_x - 1) * 1e4).softmax(1).mT @ x
        known = torch.relu(self.facts(self.drop(known)))
        both = torch.cat([self.pool(x, to_y, a[2], alive_x), self.pool(y, to_x, b[2], alive_y), known], -1)
        return self.out(self.drop(torch.relu(self.top(both))))


def fit_network(inputs: Inputs, label: np.ndarray, chosen: np.ndarray, start: np.ndarray):
    """Return the network and the mean and deviation of the facts."""
    torch.manual_seed(SEED)
    draw = np.random.default_rng(SEED)
    mean, deviation = inputs.rows[chosen].mean(0), inputs.rows[chosen].std(0) + 1e-3
    scaled = torch.tensor(((inputs.rows - mean) / deviation).clip(-4, 4))
    model = Network(start, inputs.rows.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.03)
    target, size = torch.tensor(label), (inputs.lengths[inputs.a] + inputs.lengths[inputs.b]).numpy()
    total, step = EPOCHS * (len(chosen) // BATCH), 0
    for epoch in range(EPOCHS):
        started, losses = time.monotonic(), []
        model.train()
        order = draw.permutation(chosen)
        # Pairs of like length share a batch.
        parts = np.array_split(order, max(1, len(order) // (BATCH * 20)))
        order = np.concatenate([part[np.argsort(size[part], kind="stable")] for part in parts])
        batches = [order[at : at + BATCH] for at in range(0, len(order) - BATCH + 1, BATCH)]
        draw.shuffle(batches)
        for index in batches:
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / 200) * max(0.02, 1 - step / total)
            scores = model(*inputs.sides(index), scaled[index])
            loss = nn.functional.cross_entropy(scores, target[index], label_smoothing=0.03)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()
            losses.append(loss.item())
            step += 1
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, {time.monotonic() - started:.0f} s", flush=True)
    return model.eval(), mean, deviation


@torch.no_grad()
def network_says(model: Network, inputs: Inputs, mean, deviation, index: np.ndarray) -> np.ndarray:
    scaled = torch.tensor(((inputs.rows - mean) / deviation).clip(-4, 4))
    parts = [
        model(*inputs.sides(some), scaled[some]).softmax(1) for some in np.array_split(index, max(1, len(index) // 256))
    ]
    return torch.cat(parts).numpy()


# ---------------------------------------------------------------- what ships


def as_bytes(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 weights and one scale per column."""
    scale = np.abs(weight).max(0, keepdims=True) / 127 + 1e-12
    return np.round(weight / scale).astype(np.int8), scale.astype(np.float32)


def network_arrays(model: Network, mean, deviation) -> dict[str, np.ndarray]:
    """Write the network's weights as int8 with one scale per output."""
    state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    result = {
        "mean": mean.astype(np.float32), "deviation": deviation.astype(np.float32),
        "conv1.bias": state["turn.weight"], "sharpness": state["sharpness"][None],
    }  # fmt: skip
    for name in ("character", "kind", "conv1", "conv2", "compare", "facts", "top", "out"):
        weight = state[f"{name}.weight"]
        if weight.ndim == 3:
            weight = weight.transpose(2, 1, 0).reshape(-1, weight.shape[0])
        elif name not in ("character", "kind"):
            weight = weight.T
        result[name], result[f"{name}.scale"] = as_bytes(weight)
        if f"{name}.bias" in state:
            result[f"{name}.bias"] = state[f"{name}.bias"].astype(np.float32)
    return result


def pack(arrays: dict[str, np.ndarray], **rest) -> bytes:
    packed = {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}
    weights = Weights(version=MODEL_VERSION, gazetteer=gazetteer.version(), arrays=packed, **rest)
    return lzma.compress(msgspec.msgpack.encode(weights), preset=9 | lzma.PRESET_EXTREME)


def mix(read: np.ndarray, trees: np.ndarray, share: float) -> np.ndarray:
    """Return the mean of two models' probabilities, between logarithms."""
    mixed = np.exp(share * np.log(read + 1e-9) + (1 - share) * np.log(trees + 1e-9))
    return mixed / mixed.sum(1, keepdims=True)


def f1(label: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return F1 of each label."""
    return np.array(
        [2 * ((label == k) & (found == k)).sum() / max(1, (label == k).sum() + (found == k).sum()) for k in range(3)]
    )


def guarded(chances: np.ndarray, stopped: np.ndarray) -> np.ndarray:
    """Take `exact` away where a guard stands."""
    result = chances.copy()
    result[stopped, 2] = 0
    return result / result.sum(1, keepdims=True)


def calibration_error(chances: np.ndarray, label: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error of the label's probability over bins of equal width."""
    sure, right = chances.max(1), chances.argmax(1) == label
    which = np.minimum((sure * bins).astype(int), bins - 1)
    return float(
        sum((which == b).sum() * abs(sure[which == b].mean() - right[which == b].mean()) for b in set(which))
        / len(label)
    )


def shipped(pairs: Pairs, model: Model) -> tuple[np.ndarray, Counter, float]:
    """Return the probabilities of the code that ships, how often each guard stood, and seconds of processor time a pair."""
    chances, stood = [], Counter()
    started = time.process_time()
    for first, second in zip(pairs.first, pairs.second, strict=True):
        answer = match(pairs.side[first], pairs.side[second], model)
        stood.update(answer.guards)
        chances.append([answer.probabilities[label] for label in LABELS])
    return np.array(chances), stood, (time.process_time() - started) / len(chances)


def card(
    train: Pairs, dev: Pairs, chances: np.ndarray, free: np.ndarray, stood: Counter, seconds: float, facts: dict
) -> str:
    label, found = dev.label, chances.argmax(1)
    each, open_f1 = f1(label, found), f1(label, free.argmax(1))
    confusion = "\n".join(
        f"| {LABELS[k]} | "
        + " | ".join(str(((label == k) & (found == j)).sum()) for j in range(3))
        + f" | {each[k]:.3f} |"
        for k in range(3)
    )
    stops = "\n".join(f"| `{guard}` | {count} |" for guard, count in sorted(stood.items()))
    wrong = sum((label == 2) & (chances[:, 2] == 0))
    return f"""# The match scorer

Decides whether two addresses name the same place: `exact_match`, `partial_match`, `not_match`.
Made by `{facts["source"]}`; `match_model.bin` has {facts["bytes"]:,} bytes, sha256 `{facts["sha256"]}`.

## What it is

Three small models, each of which reads a pair in its own way:
a linear one over {TOKENS:,} hashed tokens of what the two have and lack;
{ROUNDS * 3} decision trees over its verdict and {facts["features"]} facts (names, roads and numbers of each, how rare what they share is, what sounds alike, where they may lie);
a convolutional network that reads both texts side by side (int8, {facts["parameters"]:,} weights).
Trees and network are mixed ({facts["share"]:.2f} network), and `partial_match` is lifted by {facts["lift"][1]:.2f}, `exact_match` by {facts["lift"][2]:.2f}, because each label counts the same here, however rare it is in the training data.
Both were chosen on a fifth of the training queries, kept from a first fit.
Which side looks written by somebody and which like a map's entry is decided first, so the order of the two does not matter.
Guards stand above it: two different numbers, units or divisions are never an exact match, two different cities never a match.
It runs in numpy, {seconds * 1000:.2f} ms of processor time a pair beside the two parses (measured over the development pairs on the machine that trained it).

## How good it is

The development pairs, {len(label):,} of {len(set(dev.query))} queries that are in no training pair, through the code that ships:

| measure | with guards (as shipped) | without guards |
| --- | --- | --- |
| accuracy | {(found == label).mean():.3f} | {(free.argmax(1) == label).mean():.3f} |
| macro-F1 | {each.mean():.3f} | {open_f1.mean():.3f} |
| expected calibration error (ten bins) | {calibration_error(chances, label):.3f} | {calibration_error(free, label):.3f} |

| labelled as | not_match | partial_match | exact_match | F1 |
| --- | --- | --- | --- | --- |
{confusion}

Rows are the labels, columns the answers.

| guard | development pairs it stood in |
| --- | --- |
{stops}

{wrong} development pairs are labelled exact although a guard stands: labels there mean the same place, even by another door number.
That is the price of the promise; a checkout must not take 18号 for 81号.

## What the labels mean

The pairs come from map search: an address as somebody wrote it, and a place the map knows, with a road crossing, a distance or an entrance as its description.
*Exact* is the same place as finely as the candidate says it: a building matches an address with unit and room, and the road may be named differently.
*Partial* is near it or around it: the same compound but another building or gate, the road or village the address lies in, the institution without the department.
*Not* is another place, often one with the same name elsewhere.
The same relation is often graded differently from pair to pair, and some labels need to know where the places lie, which no text says.

## What it was trained on

| source | use | licence |
| --- | --- | --- |
| CCKS 2021 track 3 (Alibaba DAMO Academy), {len(train.label):,} pairs, {len(set(train.query)):,} queries | labels | none stated by the source |
| the tagger's pre-training (see its card) | vectors of characters | as there |
| pypinyin | which characters sound alike | MIT |

No text of the pairs is in the package: the model keeps characters, hashed counts and weights.
Whoever redistributes it should clear the first source for their case.

## Limits

- Names decide much, places nothing: it has no coordinates. Two names of one building are a match only if they look or sound alike.
- Divisions are compared as written, unless the validated codes are given; a district and its successor then count as different only by code.
- A number in a range (1-9号, 3号) is not a different number.
- What one side leaves out is no difference: a building matches a room in it. `deepest_common_level` says how far both agree.
"""


def choose(read: np.ndarray, trees: np.ndarray, label: np.ndarray, stopped: np.ndarray):
    """Return the share of the network and the lift of each label that give the best macro-F1 under the guards."""
    lifts = [(1.0, partial, exact) for partial in (1.0, 1.15, 1.3, 1.45) for exact in (1.4, 1.6, 1.8, 2.0, 2.3)]
    best = max(
        (f1(label, guarded(mix(read, trees, share) * lift, stopped).argmax(1)).mean(), share, lift)
        for share, lift in itertools.product((0.4, 0.5, 0.6), lifts)
    )
    for name, said in (("trees", trees), ("network", read), ("mixed", mix(read, trees, best[1]))):
        print(
            name,
            f"log loss {-np.log(said[np.arange(len(label)), label]).mean():.4f}",
            f1(label, said.argmax(1)).round(3),
        )
    print(f"chosen on the held-out fifth: macro-F1 {best[0]:.4f}, share {best[1]}, lift {best[2]}", flush=True)
    return best[1], best[2]


def fit(train: Pairs, tagger: str) -> None:
    """Fit the three parts and write the model."""
    texts = sorted(set(train.first + train.second))
    sound, rarity = sounds(), rarities(texts)
    seen = Counter(c for text in texts for c in text if not c.isdigit())
    characters = "".join(sorted(c for c, _ in seen.most_common(CHARACTERS)))
    readings = {text: Reading(side) for text, side in train.side.items()}
    style_weight = written(train, readings)
    tables = Tables(lambda pair: rarity[bucket(pair)], sound, style_weight.tolist())
    inputs = Inputs(train, {text: Likeness(reading, tables) for text, reading in readings.items()}, characters)
    print(f"{len(train.label)} pairs, {inputs.rows.shape[1]} facts", flush=True)
    queries = sorted(set(train.query))
    random.Random(SEED).shuffle(queries)
    fold_of = {query: i % FOLDS for i, query in enumerate(queries)}
    fold = np.array([fold_of[query] for query in train.query])
    everything, label = np.arange(len(fold)), train.label
    # The trees see the linear model as it is on pairs that it was not fitted to.
    said = np.zeros((len(fold), 3), np.float32)
    for k in range(FOLDS):
        said[fold == k] = linear_says(inputs, *fit_linear(inputs, label, everything[fold != k]), everything[fold == k])
    rows = np.concatenate([inputs.rows, said], 1)
    held, rest = everything[fold == 0], everything[fold != 0]
    start = vectors(characters)
    trees = fit_trees(rows[rest], label[rest]).predict(rows[held])
    network, mean, deviation = fit_network(inputs, label, rest, start)
    share, lift = choose(network_says(network, inputs, mean, deviation, held), trees, label[held], inputs.stopped[held])
    network, mean, deviation = fit_network(inputs, label, everything, start)
    weight, rise = fit_linear(inputs, label, everything)
    arrays = network_arrays(network, mean, deviation) | tree_arrays(fit_trees(rows, label)) | {"written": style_weight}
    arrays["token.weight"], scale = as_bytes(weight)
    arrays |= {"token.scale": scale[0], "token.rise": rise.astype(np.float32)}
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    ).stdout
    source = f"training/match.py at commit {commit.strip()} with {tagger}"
    MODEL.write_bytes(
        pack(arrays, source=source, characters=characters, sound=sound, rarity=rarity, share=share, lift=lift)
    )


def measure(train: Pairs, dev: Pairs) -> None:
    """Measure the model that ships on the development pairs, and write its card."""
    data = MODEL.read_bytes()
    weights = msgspec.msgpack.decode(lzma.decompress(data), type=Weights)
    model = read_model(data)
    chances, stood, seconds = shipped(dev, model)
    readings = {text: Reading(side) for text, side in dev.side.items()}
    free = np.array(
        [model.probabilities(Compared(readings[a], readings[b])) for a, b in zip(dev.first, dev.second, strict=True)]
    )
    shapes = {name: shape for name, (dtype, shape, _) in weights.arrays.items() if f"{name}.scale" in weights.arrays}
    facts = {
        "source": weights.source, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "share": weights.share,
        "lift": weights.lift, "features": weights.arrays["mean"][1][0],
        "parameters": sum(int(np.prod(shape)) for name, shape in shapes.items() if not name.startswith("token")),
    }  # fmt: skip
    text = card(train, dev, chances, free, stood, seconds, facts)
    CARD.write_text(text, "utf-8")
    print(len(data), "bytes", text.split("## How good it is")[1].split("## What the labels")[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with ccks21-addr-pairs")
    parser.add_argument(
        "--card", action="store_true", help="fit nothing: measure the model that ships and write its card"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.data / "ccks21-addr-pairs"
    engine = load_engine(open_release(BUILTIN))
    train = Pairs(folder / "train.tsv", engine)
    if not arguments.card:
        fit(train, engine.release.id)
    measure(train, Pairs(folder / "dev.tsv", engine))


if __name__ == "__main__":
    main()
