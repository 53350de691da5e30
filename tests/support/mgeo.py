"""Small MGeo checkpoints with random weights, laid out as ModelScope publishes them."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from addrmesh.address.labels import MGEO_TAGS
from addrmesh.address.normalize import normalize
from addrmesh.address.wire import to_wire
from addrmesh.inference.engine import Engine

HIDDEN, INNER, HEADS, LAYERS, POSITIONS = 48, 96, 4, 2, 512

LABELS = {
    "token-classification": MGEO_TAGS,
    "sentence-similarity": ("exact_match", "not_match", "partial_match"),
    "text-ranking": ("score",),
}

HAN = "浙江省杭州市余杭区文一西路号幢单元室西湖大厦附近路口镇村组北京海淀中关街道上城东南楼层层座园小区的旁边米"

CHARACTERS = HAN + "0123456789ABab崃𠮷 -（"


def made_up(count: int, *, mean: int = 30, seed: int = 5) -> list[str]:
    """Return texts of very different lengths."""
    draw = random.Random(seed)
    lengths = (min(500, 1 + int(draw.expovariate(1 / mean))) for _ in range(count))
    return ["".join(draw.choices(CHARACTERS, k=length)) for length in lengths]


def assert_the_same_in_any_company(engine: Engine, texts: Sequence[str]) -> None:
    """Compare the replies to texts alone with those in batches of many sizes, byte by byte."""

    def reply(text: str, found: tuple[Any, ...]) -> bytes:
        return msgspec.json.encode(to_wire(text, normalize(text), found))

    alone = {text: reply(text, engine.predict([text])[0]) for text in texts}
    draw = random.Random(7)
    for size in (2, 3, 17, 64, len(texts)):
        batch = draw.sample(texts, size)
        for text, found in zip(batch, engine.predict(batch), strict=True):
            assert reply(text, found) == alone[text]


def vocabulary() -> list[str]:
    """Return a vocabulary with every kind of token: special, unused, punctuation, latin, digits, pieces, characters."""
    ascii_marks = [chr(c) for c in range(0x21, 0x7F) if not chr(c).isupper()]
    pieces = ["##" + c for c in "0123456789abcdefghijklmnopqrstuvwxyz"] + ["##号", "12", "##34", "280", "soho", "##ho"]
    head = ["[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*head, *ascii_marks, *HAN, "，", "。", "１", "Ａ".lower(), "é", "①", *pieces]))


def write_checkpoint(path: Path, task: str = "token-classification", *, seed: int = 0, spread: float = 0.15) -> Path:
    """
    Write a checkpoint directory of two layers.

    Args:
        path: Where.
        task: ModelScope's name of it.
        seed: Of the weights.
        spread: Standard deviation of the weights; wide enough that labels differ from token to token.
    """
    import torch

    path.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    words, labels = vocabulary(), LABELS[task]

    def random(*shape: int, scale: float = spread) -> Any:
        return torch.randn(*shape, generator=draw) * scale

    at = "bert.text_encoder."
    state = {
        f"{at}embeddings.position_ids": torch.arange(POSITIONS).expand((1, -1)).contiguous(),
        f"{at}embeddings.word_embeddings.weight": random(len(words), HIDDEN),
        f"{at}embeddings.position_embeddings.weight": random(POSITIONS, HIDDEN),
        f"{at}embeddings.token_type_embeddings.weight": random(2, HIDDEN),
    }
    linear = {"classifier": (len(labels), HIDDEN)}
    norms = [f"{at}embeddings.LayerNorm"]
    for layer in (f"{at}encoder.layer.{number}." for number in range(LAYERS)):
        linear |= {f"{layer}attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        linear |= {
            f"{layer}attention.output.dense": (HIDDEN, HIDDEN),
            f"{layer}intermediate.dense": (INNER, HIDDEN),
            f"{layer}output.dense": (HIDDEN, INNER),
        }
        norms += [f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"]
    if task != "token-classification":
        linear[f"{at}pooler.dense"] = (HIDDEN, HIDDEN)
    for name, shape in linear.items():
        state |= {f"{name}.weight": random(*shape), f"{name}.bias": random(shape[0])}
    for name in norms:
        state |= {f"{name}.weight": 1 + random(HIDDEN), f"{name}.bias": random(HIDDEN)}
    state["classifier.weight"] *= 5
    torch.save(state, path / "pytorch_model.bin")

    numbers = {label: number for number, label in enumerate(labels)}
    names = {str(number): label for label, number in numbers.items()}
    model = {"type": "mgeo", "language": "zh", "id2label": names, "label2id": numbers, "num_labels": len(labels)}
    preprocessor = {
        "token-classification": {
            "type": "token-cls-tokenizer", "padding": "max_length", "first_sequence": "tokens", "label": "ner_tags",
            "mode": "inference", "use_fast": True, "label2id": numbers,
        },
        "sentence-similarity": {"type": "sen-sim-tokenizer", "label2id": numbers},
        "text-ranking": {"type": "mgeo-ranking"},
    }[task]  # fmt: skip
    pipeline = "mgeo-ranking" if task == "text-ranking" else task
    configuration = {
        "framework": "pytorch", "task": task, "model": model, "pipeline": {"type": pipeline},
        "preprocessor": preprocessor,
    }  # fmt: skip
    config = {
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN, "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
        "type_vocab_size": 2, "vocab_size": len(words), "output_hidden_states": True, "fusion_layer": LAYERS,
        "encoder_width": 16, "gis_embedding": 0, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    }  # fmt: skip
    (path / "configuration.json").write_text(json.dumps(configuration, ensure_ascii=False), "utf-8")
    (path / "config.json").write_text(json.dumps(config), "utf-8")
    (path / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    return path
