"""
MGeo's tagger on a GPU, against the matrix products of that GPU and against what a user gets elsewhere.

    .venv/bin/python bench/mgeo_gpu.py

Needs `addrmesh[gpu]` and no network. Without `--checkpoint` it makes one of full size with random weights; speed does
not depend on them. Everything runs on one device, one after the other, in rounds, by the clock on the wall. The limit
is a bf16 product of 8192 x 8192 x 8192 on random numbers, measured in every round; beside it stand the products of the
network's own shapes, at the largest run. The arithmetic counted is what the texts need: nothing for padding.

Peers, on the same device: ModelScope's pipeline, where this environment has it; and, where it has transformers, the
network as that pipeline runs it (fp32, 512 tokens, one address at a time, attention step by step) and what one would
build instead (bf16, fused attention, texts sorted by length, 64 at a time). These two are given token ids, so their
figures hold neither tokenisation nor decoding.

For a machine without network, where there is one: `pip download -d wheels --only-binary=:all: 'addrmesh[gpu]'`, with
`--python-version` of the other; there: `pip install --no-index --find-links wheels 'addrmesh[gpu]'`.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from addresses import distinct
from addrmesh.address.labels import MGEO_TAGS
from addrmesh.address.normalize import normalize
from addrmesh.inference.build import build_release
from addrmesh.inference.mgeo.checkpoint import SPECIAL, Config, _shapes
from addrmesh.inference.mgeo.torch_engine import SIZES, TorchTagger, device_of
from results import Run, arguments, ratios

HIDDEN, INNER, HEADS, POSITIONS, WORDS = 768, 3072, 12, 512, 21128
SHAPES = ((HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INNER), (INNER, HIDDEN))
"""Rows and columns of a layer's four products."""

SQUARE = 8192
PADDED = 512
"""Tokens to which ModelScope's pipeline fills every address."""

SORTED = 64
"""Texts at a time, of the network that one would build."""

Work = Callable[[], float]
"""Does something once, and tells how much it was."""


def write_checkpoint(folder: Path, layers: int) -> Path:
    """Write a checkpoint as ModelScope publishes it, with random weights."""
    folder.mkdir()
    numbers = {label: number for number, label in enumerate(MGEO_TAGS)}
    names = {str(number): label for label, number in numbers.items()}
    preprocessor = {
        "type": "token-cls-tokenizer", "padding": "max_length", "first_sequence": "tokens", "label": "ner_tags",
        "mode": "inference", "use_fast": True, "label2id": numbers,
    }  # fmt: skip
    configuration = {
        "framework": "pytorch", "task": "token-classification", "pipeline": {"type": "token-classification"},
        "model": {"type": "mgeo", "id2label": names, "label2id": numbers, "num_labels": len(names)},
        "preprocessor": preprocessor,
    }  # fmt: skip
    config = {
        "model_type": "bert", "hidden_act": "gelu", "vocab_size": WORDS, "hidden_size": HIDDEN, "fusion_layer": layers,
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "intermediate_size": INNER, "type_vocab_size": 2,
        "max_position_embeddings": POSITIONS, "output_hidden_states": True, "encoder_width": 256, "gis_embedding": 0,
    }  # fmt: skip
    words = [*SPECIAL, *(c for c in map(chr, range(0x21, 0x7F)) if not c.isupper())]
    words += [chr(0x4E00 + number) for number in range(WORDS - len(words))]
    draw = torch.Generator().manual_seed(0)
    state = {
        f"bert.text_encoder.{name}".replace("bert.text_encoder.classifier", "classifier"): (
            torch.ones(shape) if name.endswith("LayerNorm.weight") else torch.randn(shape, generator=draw) * 0.02
        )
        for name, shape in _shapes(Config(**{k: config[k] for k in Config.__struct_fields__ if k in config}),
                                   len(names), pooler=False).items()
    }  # fmt: skip
    state["classifier.weight"] *= 10
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "configuration.json").write_text(json.dumps(configuration, ensure_ascii=False), "utf-8")
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    return folder


def operations(tokens: int, layers: int) -> float:
    """Return the arithmetic of one text."""
    linear = sum(rows * columns for rows, columns in SHAPES)
    return 2 * layers * tokens * (linear + 2 * HIDDEN * tokens)


def products(device: torch.device, tokens: int, shapes: Sequence[tuple[int, int]]) -> Work:
    """Return a call that multiplies once in each shape and tells the operations it took."""
    pairs = [
        (torch.randn(tokens, rows, device=device).bfloat16(), torch.randn(columns, rows, device=device).bfloat16())
        for rows, columns in shapes
    ]
    amount = float(sum(2 * tokens * rows * columns for rows, columns in shapes))

    def once() -> float:
        for x, weight in pairs:
            torch.nn.functional.linear(x, weight)
        return amount

    return once


def grouped(do: Callable[[Sequence[Any]], object], items: Sequence[Any], count: int) -> Work:
    """Return a call that does the next group and tells its size."""
    turn: Iterator[Sequence[Any]] = cycle([items[at : at + count] for at in range(0, len(items), count)])

    def once() -> float:
        group = next(turn)
        do(group)
        return len(group)

    return once


def rate(work: Work, seconds: float, device: torch.device) -> float:
    """Return how much `work` does per second, over a window that begins warm and ends when the device is done."""
    done, start = 0.0, 0.0
    for warm in (False, True):
        synchronize(device)
        done, start = 0.0, time.perf_counter()
        while time.perf_counter() < start + (seconds if warm else seconds / 10):
            for _ in range(3):
                done += work()
            synchronize(device)
    return done / (time.perf_counter() - start)


def latencies(tagger: TorchTagger, texts: Sequence[str], count: int, seconds: float) -> list[float]:
    """Return how long calls of `count` addresses take, in milliseconds."""
    work, times = grouped(tagger.predict, texts, count), []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 10:
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return times[3:]


def synchronize(device: torch.device) -> None:
    """Wait until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peers(source: Path, texts: list[str], ids: list[list[int]], device: torch.device) -> dict[str, Work]:
    """Return what this environment can run of other people's."""
    found: dict[str, Work] = {}
    if find_spec("modelscope"):
        from modelscope.pipelines import pipeline

        name = "cpu" if device.type == "cpu" else f"cuda:{device.index}"
        tagger = pipeline("token-classification", model=str(source), device=name)
        found["modelscope, its defaults"] = grouped(lambda group: tagger(group[0]), texts, 1)
    if find_spec("transformers"):
        stock = transformer(source, device, torch.float32, "eager")
        found["transformers as modelscope runs it"] = grouped(
            lambda group: run_padded(stock, group, PADDED, device), ids, 1
        )
        built = transformer(source, device, torch.bfloat16, "sdpa")
        batches = sorted(ids, key=len)
        groups = [batches[at : at + SORTED] for at in range(0, len(batches), SORTED)]
        random.Random(1).shuffle(groups)
        found["transformers, bf16, sorted"] = grouped(
            lambda group: run_padded(built, group, max(map(len, group)), device), [x for g in groups for x in g], SORTED
        )
    return found


def transformer(source: Path, device: torch.device, dtype: torch.dtype, attention: str) -> Any:
    """Return the stock network of transformers with the checkpoint's weights."""
    from transformers import AutoModelForTokenClassification, BertConfig

    state = torch.load(source / "pytorch_model.bin", weights_only=True)
    config = BertConfig.from_json_file(str(source / "config.json"))
    config.num_labels = len(state["classifier.bias"])
    config.output_hidden_states = attention == "eager"  # the pipeline keeps them all, for nothing
    model = AutoModelForTokenClassification.from_config(config, attn_implementation=attention)
    names = {name: name.replace("bert.text_encoder.", "bert.") for name in state}
    missing = model.load_state_dict({names[name]: tensor for name, tensor in state.items()}, strict=False).missing_keys
    assert not [name for name in missing if not name.endswith("_ids")], missing
    return model.eval().to(device, dtype)


def run_padded(model: Any, rows: Sequence[Sequence[int]], width: int, device: torch.device) -> np.ndarray:
    """Run texts padded to `width`; the labels come back to the host."""
    ids = np.zeros((len(rows), width), np.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row
    inputs = torch.from_numpy(ids).to(device)
    with torch.inference_mode():
        return model(input_ids=inputs, attention_mask=(inputs != 0).long()).logits.argmax(-1).cpu().numpy()


def main() -> None:
    """Measure and write `mgeo_gpu.json`."""
    parser = arguments("MGeo's tagger on a GPU.", addresses=32768, call=4096, rounds=5, window=2.0, layers=12)
    parser.add_argument("--checkpoint", type=Path, help="directory of a tagging checkpoint; default: random weights")
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp16"], choices=["bf16", "fp16"])
    options = parser.parse_args()
    device = device_of(options.device)
    texts = [normalize(address).text for address in distinct(options.addresses)]
    with tempfile.TemporaryDirectory() as folder:
        source = options.checkpoint or write_checkpoint(Path(folder) / "checkpoint", options.layers)
        releases = {p: build_release(source, Path(folder) / f"mgeo-{p}", precision=p) for p in options.precisions}
        options.release = releases[options.precisions[0]].path
        run = Run("mgeo_gpu", options)
        run.peer("device", about(device))
        taggers: dict[str, TorchTagger] = {}
        for name, release in releases.items():
            start = time.perf_counter()
            taggers[name] = TorchTagger(release, options.device)
            run.say(f"{name} was loaded in {time.perf_counter() - start:.1f} s")
        first = taggers[options.precisions[0]]
        ids = [first.tokenizer.characters(text).ids for text in texts]
        layers = json.loads((source / "config.json").read_text("utf-8"))["num_hidden_layers"]
        needed = sum(operations(len(row), layers) for row in ids) / len(ids)
        limits = {
            "limit": products(device, SQUARE if device.type == "cuda" else 256, [(SQUARE, SQUARE)]),
            "limit of the network's shapes": products(device, SIZES[-1], SHAPES),
        }
        answers: dict[str, Work] = {}
        for name, tagger in taggers.items():
            answers[f"{name}, predict"] = grouped(tagger.predict, texts, options.call)
            answers[f"{name}, network alone"] = grouped(network(tagger), ids, options.call)
        answers |= (others := peers(source, texts, ids, device))
        measured: dict[str, list[float]] = {}
        units: dict[str, str] = {}
        for number in range(1, options.rounds + 1):
            figures: dict[str, float] = {}

            def keep(name: str, value: float, unit: str, figures: dict[str, float] = figures) -> None:
                figures[name], units[name] = value, unit

            for name, work in limits.items():
                keep(name, rate(work, options.window, device) / 1e12, "10^12 operations/s")
            for name, work in answers.items():
                keep(name, rate(work, options.window, device), "addresses/s")
            for name, tagger in taggers.items():
                for what in (f"{name}, predict", f"{name}, network alone"):
                    share = figures[what] * needed / 1e12 / figures["limit"]
                    keep(f"share of the limit, {what}", 100 * share, "%")
                for count in (1, 8):
                    times = latencies(tagger, texts, count, options.window)
                    for percent in (50, 99):
                        value = float(np.percentile(times, percent))
                        keep(f"{name}, {count} at once, p{percent}", value, "ms")
            run.add("tagging", number, figures)
            for name, value in figures.items():
                measured.setdefault(name, []).append(value)
        for name, tagger in taggers.items():
            run.note(f"{name}: runs of at most {tagger.network.limit:,} tokens.")
            tagger.close()
    for name, values in measured.items():
        run.row(name, values, units[name])
    ours = f"{options.precisions[0]}, predict"
    for name in others:
        run.row(f"{ours} : {name}", ratios(measured[ours], measured[name]), "times")
    run.note(f"{len(texts):,} made-up addresses, {sum(map(len, texts)) / len(texts):.1f} characters on average.")
    run.write()


def network(tagger: TorchTagger) -> Callable[[Sequence[list[int]]], object]:
    """Return a call that runs token ids, without tokenising and decoding."""
    return lambda group: [None for _ in tagger.network.run(range(len(group)), group)]


def about(device: torch.device) -> dict[str, str]:
    """Describe the device and what drives it."""
    found = {"torch": torch.__version__, "device": str(device)}
    found |= {name: version(name) for name in ("transformers", "modelscope", "triton") if find_spec(name)}
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        found |= {"name": facts.name, "memory": f"{facts.total_memory >> 20} MiB", "cuda": str(torch.version.cuda)}
        found["multiprocessors"] = str(facts.multi_processor_count)
    return found


if __name__ == "__main__":
    main()
