"""
Train the built-in model from the data beside the project, and write it as a release.

    python training/train.py ../shared/data            # the whole way, under an hour on two cores
    python training/train.py ../shared/data --from student   # again from a stage; earlier stages are kept in training/work

Stages: `vocabulary` → `pretrain` (masked characters) → `teachers` (four, on both labelled corpora) → `pseudo` (their mean
opinion on every text, in one scheme) → `student` → `release`. Seeds are fixed.
"""

import argparse
import hashlib
import json
import pickle
import random
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

import noise
from addrmesh.address import gazetteer
from addrmesh.address.decode import best_tags, legal_spans
from addrmesh.address.labels import TAGS
from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.inference.features import Featurizer, Vocabulary, fold
from corpus import NAACL_TYPES, Example, read_ccks, read_naacl, read_unlabelled, soft_rows, tag_rows, without
from measure import COMPARABLE, Score, comparable, has_waste
from network import Tagger, marginals, structured_loss, tensors, token_loss

WORK = Path(__file__).parent / "work"
NAACL_TAGS = 1 + 4 * len(NAACL_TYPES)
SEED = 20211124
TEACHERS, TEACHER_HIDDEN, TEACHER_EPOCHS = 4, 254, 8
PRETRAIN_EPOCHS = 6
STUDENT_HIDDEN, STUDENT_EPOCHS = 126, 5  # +2 units that hold the scale, see export.py
STAGES = ("vocabulary", "pretrain", "teachers", "pseudo", "student", "release")


class Data:
    """Everything that is read, with the tuning sets kept apart from all training."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ccks_dev = read_ccks(root / "ccks21-addr" / "dev.conll")
        naacl_dev = read_naacl(root / "naacl19-addr" / "dev.txt")
        self.naacl_dev = [e for e in naacl_dev if not has_waste(e.text, e.spans)]
        self.ccks = without(read_ccks(root / "ccks21-addr" / "train.conll"), self.ccks_dev + naacl_dev)
        self.naacl = without(read_naacl(root / "naacl19-addr" / "train.txt"), self.ccks_dev + naacl_dev)
        held = {fold(e.text) for e in self.ccks_dev + naacl_dev}
        self.unlabelled = [text for text in read_unlabelled(root) if fold(text) not in held]
        self.chains, self.former = noise.read_chains(root / "gazetteer")


# ---------------------------------------------------------------- batches and measures


def batches(examples: list, size: int, draw: random.Random, length=lambda e: len(e.text)) -> list[list]:
    """Cut into batches of similar length, in random order."""
    order = sorted(examples, key=lambda e: length(e) + draw.random() * 6)
    cut = [order[i : i + size] for i in range(0, len(order), size)]
    draw.shuffle(cut)
    return cut


def targets(rows: list[NDArray], lengths: Tensor) -> Tensor:
    """Stack `[T, L]` targets of a batch to `[T, B, L]`, zero where a text has ended."""
    out = torch.zeros(int(lengths.max()), len(rows), rows[0].shape[1])
    for i, row in enumerate(rows):
        out[: len(row), i] = torch.from_numpy(row.astype(np.float32))
    return out


def decode(scores: NDArray[np.float32], types=COMPONENT_TYPES) -> list[tuple[str, int, int]]:
    found = legal_spans(scores.argmax(-1).tolist()) if len(types) == len(COMPONENT_TYPES) else None
    if found is None:
        found = legal_spans(best_tags(scores))
    return [(types[kind], start, end) for kind, start, end in found]


@torch.no_grad()
def predict(model: nn.Module, featurize: Featurizer, texts: list[str], head: int = 0) -> list[NDArray[np.float32]]:
    """Return scores `[T, L]` for each text."""
    model.eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    result: list = [None] * len(texts)
    for at in range(0, len(order), 128):
        rows = order[at : at + 128]
        inputs = tensors(featurize([texts[i] for i in rows]))
        scores = model(inputs, head).numpy()
        for column, i in enumerate(rows):
            result[i] = scores[: len(texts[i]), column]
    return result


def evaluate(scores_of, data: Data) -> dict[str, float]:
    """Measure on the tuning sets. `scores_of(texts)` gives merged-scheme scores."""
    ccks = Score(
        (e.spans for e in data.ccks_dev),
        map(decode, scores_of([e.text for e in data.ccks_dev])),
        [t for t in COMPONENT_TYPES if t != "roomno"],
    )
    found = [comparable(decode(s)) for s in scores_of([e.text for e in data.naacl_dev])]
    naacl = Score((comparable(e.spans) for e in data.naacl_dev), found, COMPARABLE)
    return {"ccks": round(ccks.f1(), 2), "naacl": round(naacl.f1(), 2), "roomno": round(naacl.f1("roomno"), 2)}


class Average:
    """An exponential moving average of a model's weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value.detach(), 1 - decay)


def fit(
    model: nn.Module, epochs: int, epoch_batches, loss_of, rate: float, label: str, decay: float = 0.998, check=None
) -> tuple[dict, list]:
    """Run AdamW with warm-up and linear decay; return averaged weights and the history of loss and measures."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.99))
    average, history, step = Average(model, decay), [], 0
    first = epoch_batches(0)
    total = len(first) * epochs
    for epoch in range(epochs):
        cut = first if epoch == 0 else epoch_batches(epoch)
        model.train()
        losses = []
        for batch in tqdm(cut, desc=f"{label} {epoch + 1}/{epochs}", mininterval=5, leave=False, file=sys.stderr):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 200, max(0.02, (total - step) / (0.7 * total)))
            loss = loss_of(model, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            average.update(model)
            losses.append(float(loss.detach()))
            step += 1
        row = {"epoch": epoch + 1, "loss": round(float(np.mean(losses)), 4)}
        if check:
            kept = {k: v.clone() for k, v in model.state_dict().items()}
            model.load_state_dict(average.state)
            row |= check(model)
            model.load_state_dict(kept)
        history.append(row)
        print(label, row, flush=True)
    return average.state, history


# ---------------------------------------------------------------- stages


def vocabulary(data: Data) -> Vocabulary:
    """Every character seen twice or standing in a division's name; the 20,000 most frequent pairs."""
    texts = [fold(e.text) for e in data.ccks + data.naacl] + [fold(t) for t in data.unlabelled]
    seen = Counter(c for text in texts for c in text)
    named = {c for level in gazetteer.LEVELS for name in gazetteer.names(level) for c in name}
    made = set("".join((noise.SURNAMES, noise.GIVEN, *noise.NOTES, *noise.LEAD, *noise.PERSON, *noise.PHONE)))
    characters = sorted(
        c for c in {c for c, n in seen.items() if n >= 2} | named | {fold(c) for c in made} if ord(c) < 0x10000
    )
    known = set(characters)
    pairs = Counter(text[i : i + 2] for text in texts for i in range(len(text) - 1))
    kept = [pair for pair, _ in pairs.most_common(24_000) if set(pair) <= known][:20_000]
    return Vocabulary("".join(characters), sorted(kept))


def pretrain(data: Data, words: Vocabulary, hidden: int, epochs: int, seed: int) -> dict:
    """Guess masked characters from both sides; the encoder's first knowledge of what addresses look like."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    featurize = Featurizer(words)
    texts = [e.text for e in data.ccks + data.naacl] + data.unlabelled
    model = Tagger(featurize.size, len(words.pairs) + 1, hidden, dropout=0.2)
    generator = np.random.default_rng(seed)

    def loss_of(model: Tagger, batch: list[str]) -> Tensor:
        characters, pairs, hits, lengths = tensors(featurize(batch))
        alive = torch.arange(len(characters))[:, None] < lengths
        start = torch.from_numpy(generator.random(characters.shape) < 0.12)
        masked = start.clone()
        masked[1:] |= start[:-1] & torch.from_numpy(generator.random(characters[1:].shape) < 0.6)
        masked &= alive
        beside = masked.clone()
        beside[1:] |= masked[:-1]
        states = model.encode(
            characters.masked_fill(masked, model.mask_id),
            pairs.masked_fill(beside, 0),
            hits.masked_fill(masked, 0),
            lengths,
        )
        guesses = model.guess(states[masked]) @ model.character.weight[:-1].T
        return nn.functional.cross_entropy(guesses, characters[masked])

    state, _ = fit(model, epochs, lambda _: batches(texts, 96, draw, len), loss_of, 3e-3, "pretrain", 0.995)
    return state


def teacher(data: Data, words: Vocabulary, start: dict | None, hidden: int, epochs: int, seed: int) -> dict:
    """Learn both corpora, each with its own head over one encoder."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    featurize = Featurizer(words)
    alphabet = words.characters
    model = Tagger(featurize.size, len(words.pairs) + 1, hidden, (len(TAGS), NAACL_TAGS), dropout=0.5)
    if start:
        model.load_state_dict({k: v for k, v in start.items() if not k.startswith("heads")}, strict=False)

    def epoch_batches(_: int) -> list:
        cut = [(0, b) for b in batches(data.ccks, 32, draw)] + [(1, b) for b in batches(data.naacl, 32, draw)]
        draw.shuffle(cut)
        return cut

    def loss_of(model: Tagger, item) -> Tensor:
        head, batch = item
        if head == 0:
            batch = [
                noise.swap_divisions(e, data.chains, data.former, draw) if draw.random() < 0.15 else e for e in batch
            ]
            batch = [noise.mistype(e, alphabet, draw) if draw.random() < 0.05 else e for e in batch]
            rows = [soft_rows(e) for e in batch]
        else:
            rows = []
            for e in batch:
                row = np.zeros((len(e.text), NAACL_TAGS), np.float16)
                row[np.arange(len(row)), tag_rows(len(row), e.spans, NAACL_TYPES)] = 1
                rows.append(row)
        inputs = tensors(featurize([e.text for e in batch]))
        scores = model(inputs, head)
        return structured_loss(scores, targets(rows, inputs[3]), inputs[3]) / 10

    def check(model: Tagger) -> dict:
        found = map(decode, predict(model, featurize, [e.text for e in data.ccks_dev]))
        return {"ccks": round(Score((e.spans for e in data.ccks_dev), found).f1(), 2)}

    state, history = fit(model, epochs, epoch_batches, loss_of, 2e-3, f"teacher {seed}", 0.998, check)
    return {"state": state, "history": history, "hidden": hidden}


def run_teacher(args) -> dict:
    torch.set_num_threads(1)
    return teacher(*args)


def merge(ccks: NDArray, naacl: NDArray) -> NDArray:
    """
    Bring two opinions into the merged scheme.

    MGeo's scheme decides, but it has no room numbers and leaves many units and floors unlabelled; there the other
    corpus is heard: a room takes its place from whatever the first said, the rest only from `O`.

    Args:
        ccks: `[T, 73]` marginals of the merged tag order, nothing at `roomno`.
        naacl: `[T, 85]` marginals of the NAACL tags.
    """
    merged = ccks.copy()
    at = lambda types, name: slice(1 + 4 * types.index(name), 5 + 4 * types.index(name))
    room = naacl[:, at(NAACL_TYPES, "roomno")]
    merged *= 1 - room.sum(1, keepdims=True)
    merged[:, at(COMPONENT_TYPES, "roomno")] += room
    outside = merged[:, :1].copy()
    for name in ("cellno", "floorno", "houseno"):
        part = naacl[:, at(NAACL_TYPES, name)] * outside
        merged[:, at(COMPONENT_TYPES, name)] += part
        merged[:, :1] -= part.sum(1, keepdims=True)
    return merged.clip(0, 1)


def opinions(words: Vocabulary, teachers: list[dict], texts: list[str]) -> list[NDArray[np.float16]]:
    """Return the teachers' mean marginals in the merged scheme."""
    featurize = Featurizer(words)
    models = []
    for t in teachers:
        model = Tagger(featurize.size, len(words.pairs) + 1, t["hidden"], (len(TAGS), NAACL_TAGS))
        model.load_state_dict(t["state"])
        models.append(model.eval())
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    result: list = [None] * len(texts)
    for at in tqdm(range(0, len(order), 128), desc="opinions", mininterval=5, leave=False, file=sys.stderr):
        rows = order[at : at + 128]
        inputs = tensors(featurize([texts[i] for i in rows]))
        sums: list = [0, 0]
        for model in models:
            with torch.no_grad():
                states = model.encode(*inputs)
                scores = [head(states) for head in model.heads]
            for head in (0, 1):
                sums[head] = sums[head] + marginals(scores[head], inputs[3]).numpy() / len(models)
        for column, i in enumerate(rows):
            n = len(texts[i])
            result[i] = merge(sums[0][:n, column], sums[1][:n, column]).astype(np.float16)
    return result


def run_opinions(args) -> list:
    torch.set_num_threads(1)
    return opinions(*args)


def own_words(gold: Example, soft: NDArray[np.float16], naacl: bool) -> NDArray[np.float16]:
    """Let gold labels stand where they say something; the teachers' opinion fills what the scheme leaves open."""
    rows = soft.astype(np.float32)
    if not naacl:
        rows = 0.7 * tag_rows_dense(gold) + 0.3 * rows
        # what the corpus leaves as O although it is a unit, floor or room, the opinion may name
        outside = tag_rows(len(gold.text), gold.spans) == 0
        rows[outside] = soft[outside]
    else:
        for name, start, end in gold.spans:
            unheard = name == "roadno" and rows[start:end, 0].min() > 0.5
            if name in ("roomno", "cellno", "floorno", "houseno") or unheard:
                rows[start:end] = 0
                rows[np.arange(start, end), tag_rows(end - start, [(name, 0, end - start)])] = 1
    return rows.astype(np.float16)


def tag_rows_dense(example: Example) -> NDArray[np.float32]:
    rows = np.zeros((len(example.text), len(TAGS)), np.float32)
    rows[np.arange(len(rows)), tag_rows(len(rows), example.spans)] = 1
    return rows


def spans_of(soft: NDArray[np.float16]) -> list[tuple[str, int, int]]:
    return decode(np.log(soft.astype(np.float32) + 1e-4))


def pseudo(data: Data, words: Vocabulary, teachers: list[dict]) -> list[tuple[Example, float]]:
    """Label every text with the teachers' mean, gold labels kept; each with the weight it has in training."""
    rooms = without(data.naacl, data.ccks)  # a text in both corpora is labelled as CCKS has it
    texts = [e.text for e in data.ccks] + [e.text for e in rooms] + data.unlabelled
    half = len(texts) // 2
    with ProcessPoolExecutor(2) as pool:
        parts = pool.map(run_opinions, [(words, teachers, texts[:half]), (words, teachers, texts[half:])])
        soft = [row for part in parts for row in part]
    result = []
    gold = [(e, False) for e in data.ccks] + [(e, True) for e in rooms]
    for i, text in enumerate(texts):
        rows = own_words(*(gold[i][0], soft[i], gold[i][1])) if i < len(gold) else soft[i]
        result.append((Example(text, spans_of(rows), rows), 2.0 if i < len(gold) else 1.0))
    return result


def student(
    data: Data,
    words: Vocabulary,
    start: dict | None,
    examples: list,
    hidden: int,
    epochs: int,
    seed: int,
    loss_name: str = "token",
    share: float = 1.0,
) -> dict:
    """Learn the teachers' opinions on everything, moved about China and covered with what orders carry."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    featurize = Featurizer(words)
    model = Tagger(featurize.size, len(words.pairs) + 1, hidden, dropout=0.3)
    if start:
        model.load_state_dict({k: v for k, v in start.items() if not k.startswith("heads")}, strict=False)
    loss_function = {"token": token_loss, "structured": structured_loss}[loss_name]
    alphabet = words.characters

    def alter(e: Example) -> Example:
        p = draw.random()
        if p < 0.22:
            e = noise.swap_divisions(e, data.chains, data.former, draw)
        if draw.random() < 0.06:
            e = noise.number_tail(e, draw)
        if draw.random() < 0.03:
            e = noise.repeat_prefix(e, draw)
        if draw.random() < 0.15:
            e = noise.add_noise(e, draw)
        if draw.random() < 0.05 and e.text:
            e = noise.mistype(e, alphabet, draw)
        return e if e.text else Example("路", [], None)

    def epoch_batches(_: int) -> list:
        chosen = [e for e, weight in examples for _ in range(int(weight)) if weight > 1 or draw.random() < share]
        return batches([alter(e) for e in chosen], 64, draw)

    def loss_of(model: Tagger, batch: list[Example]) -> Tensor:
        inputs = tensors(featurize([e.text for e in batch]))
        return loss_function(model(inputs), targets([soft_rows(e) for e in batch], inputs[3]), inputs[3]) / 10

    check = lambda model: evaluate(lambda texts: predict(model, featurize, texts), data)
    state, history = fit(model, epochs, epoch_batches, loss_of, 2.5e-3, f"student {hidden} {loss_name}", 0.999, check)
    return {"state": state, "history": history, "hidden": hidden}


def measure_release(engine, data: Data) -> dict:
    """Measure what ships, through the engine that serves it."""
    found = engine.predict([e.text for e in data.ccks_dev])
    spans = [[(c.type, c.start, c.end) for c in row if c.type != "roomno"] for row in found]
    ccks = Score((e.spans for e in data.ccks_dev), spans)
    rooms = engine.predict([e.text for e in data.naacl_dev])
    naacl = Score(
        (comparable(e.spans) for e in data.naacl_dev),
        [[(c.type, c.start, c.end) for c in row] for row in rooms],
        COMPARABLE,
    )
    raw, right = [], []
    for example, row in zip(data.ccks_dev, found, strict=True):
        gold = set(example.spans)
        for c in row:
            if c.type != "roomno":
                raw.append(c.confidence)
                right.append((c.type, c.start, c.end) in gold)
    return {"ccks": ccks, "naacl": naacl, "raw": np.array(raw), "right": np.array(right, float)}


def build_release(data: Data, words: Vocabulary, trained: dict) -> None:
    """Export, calibrate, measure and write the release, its card and its pictures."""
    import export
    import report
    from addrmesh.address.normalize import normalize
    from addrmesh.inference.engine import load_engine
    from addrmesh.inference.release import BUILTIN, open_release

    model = Tagger(Featurizer(words).size, len(words.pairs) + 1, trained["hidden"])
    model.load_state_dict(trained["state"])
    model.eval()
    onnx_bytes = export.quantize(export.build(model, "int8"))
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    settings = {"words": words, "source": f"training/train.py at commit {commit}"}
    plain = {"score": [0.0, 1.0], "probability": [0.0, 1.0]}
    trial = WORK / "trial" / BUILTIN.name
    fp32 = export.build(model, "fp32").SerializeToString()
    export.write_release(trial, fp32, calibration=plain, probes=[], card="", precision="fp32", **settings)
    reference = measure_release(load_engine(open_release(trial)), data)
    export.write_release(trial, onnx_bytes, calibration=plain, probes=[], card="", **settings)
    engine = load_engine(open_release(trial))
    measured = measure_release(engine, data)
    calibration = report.fit_calibration(measured["raw"], measured["right"])
    crossed = report.cross_fitted(measured["raw"], measured["right"])
    error = report.calibration_error(crossed, measured["right"])
    probes = []
    for text in (Path(__file__).parent / "probes.txt").read_text("utf-8").splitlines():
        (row,) = engine.predict([normalize(text).text])
        probes.append({"address": text, "components": [[c.type, c.start, c.end] for c in row]})
    docs = Path(__file__).parent.parent / "docs" / "reference" / "model"
    docs.mkdir(parents=True, exist_ok=True)
    report.plot_reliability(docs / "reliability.png", crossed, measured["right"])
    report.plot_history(docs / "training.png", trained["history"])
    card = report.model_card(
        measured=measured, reference=reference, error=error, size=len(onnx_bytes), digest=hashlib.sha256(onnx_bytes).hexdigest(), data=data,
        words=words, hidden=trained["hidden"], source=settings["source"],
    )  # fmt: skip
    export.write_release(BUILTIN, onnx_bytes, calibration=calibration, probes=probes, card=card, **settings)
    (docs.parent / "model-card.md").write_text(
        card + "\n## Pictures\n\n![Training](model/training.png)\n\n![Reliability](model/reliability.png)\n", "utf-8"
    )
    print(
        open_release(BUILTIN).id,
        json.dumps({k: round(measured[k].f1(), 2) for k in ("ccks", "naacl")}),
        f"ECE {error:.4f}",
    )


def kept(name: str, make):
    """Return a stage's result, from training/work if an earlier run left it there."""
    file = WORK / f"{name}.pkl"
    if file.exists():
        return pickle.loads(file.read_bytes())  # noqa: S301 - our own file
    started = time.monotonic()
    result = make()
    WORK.mkdir(exist_ok=True)
    file.write_bytes(pickle.dumps(result))
    print(f"stage {name}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, help="the folder with ccks21-addr, naacl19-addr, ccks21-addr-pairs and gazetteer"
    )
    parser.add_argument("--from", dest="start", choices=STAGES, help="do this stage and all after it again")
    options = parser.parse_args()
    for name in STAGES[STAGES.index(options.start) if options.start else 0 :]:
        (WORK / f"{name}.pkl").unlink(missing_ok=True)
    data = Data(options.data)
    words = kept("vocabulary", lambda: vocabulary(data))
    torch.set_num_threads(2)
    start = kept("pretrain", lambda: pretrain(data, words, TEACHER_HIDDEN, PRETRAIN_EPOCHS, SEED))
    plans = [(data, words, start if i else None, TEACHER_HIDDEN, TEACHER_EPOCHS, SEED + i) for i in range(TEACHERS)]

    def all_teachers() -> list[dict]:
        with ProcessPoolExecutor(2) as pool:
            return list(pool.map(run_teacher, plans))

    teachers = kept("teachers", all_teachers)
    examples = kept("pseudo", lambda: pseudo(data, words, teachers))
    trained = kept("student", lambda: student(data, words, None, examples, STUDENT_HIDDEN, STUDENT_EPOCHS, SEED))
    build_release(data, words, trained)


if __name__ == "__main__":
    main()
