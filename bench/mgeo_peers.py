"""
What MGeo costs elsewhere; run by `mgeo.py` with the interpreter of `bench/.venvs/modelscope`.

Reads one JSON line per task from stdin (`{"peer", "checkpoint", "texts", "seconds"}`), answers each with one line:
addresses per CPU-second of this process. Peers: ModelScope's pipeline with its defaults and with `padding="longest"`,
one address at a time; and what one would build with onnxruntime, the stock BERT of transformers with the same
weights, exported, quantised dynamically to int8 (signed, per channel), texts sorted by length in batches of 8, the same
tokens as ours. ModelScope cuts words into pieces, which are a tenth fewer tokens.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

ROWS = 8


def modelscope(checkpoint: str, texts: list[str], **options: Any) -> Iterator[Callable[[], int]]:
    """Yield calls that answer one address each."""
    from modelscope.pipelines import pipeline

    tagger = pipeline("token-classification", model=checkpoint, device="cpu", **options)

    def answer(text: str) -> int:
        tagger(text)
        return 1

    while True:
        yield from (lambda text=text: answer(text) for text in texts)


def onnxruntime_int8(checkpoint: str, texts: list[str]) -> Iterator[Callable[[], int]]:
    """Yield calls that answer eight addresses of about the same length each."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

    state = torch.load(Path(checkpoint) / "pytorch_model.bin", weights_only=True)
    state = {name.replace("bert.text_encoder.", "bert."): tensor for name, tensor in state.items()}
    config = BertConfig.from_json_file(str(Path(checkpoint) / "config.json"))
    config.num_labels, config.output_hidden_states = len(state["classifier.bias"]), False
    config._attn_implementation = "eager"  # noqa: SLF001 - there is no public name
    model = BertForTokenClassification(config).eval()
    model.load_state_dict(state, strict=False)
    tokenizer = BertTokenizerFast(str(Path(checkpoint) / "vocab.txt"))
    sample = tokenizer(texts[:2], padding=True, return_tensors="pt")
    names = ("input_ids", "attention_mask")
    with tempfile.TemporaryDirectory() as folder:
        fp32, int8 = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        torch.onnx.export(
            model, tuple(sample[name] for name in names), str(fp32), input_names=list(names), output_names=["logits"],
            dynamic_axes={name: {0: "N", 1: "L"} for name in names}, dynamo=False,
        )  # fmt: skip
        quantize_dynamic(fp32, int8, weight_type=QuantType.QInt8, per_channel=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(int8.read_bytes(), options, providers=["CPUExecutionProvider"])
    # One token for each character, as we read it, so that both do the same work; words would be fewer tokens.
    encoded = sorted((tokenizer(list(text), is_split_into_words=True)["input_ids"] for text in texts), key=len)
    batches = []
    for at in range(0, len(encoded), ROWS):
        padded = tokenizer.pad({"input_ids": encoded[at : at + ROWS]}, return_tensors="np")
        batches.append({name: padded[name].astype("int64") for name in names})
    random.Random(1).shuffle(batches)  # a window sees all lengths, not the shortest

    def answer(batch: dict[str, Any]) -> int:
        session.run(None, batch)[0].argmax(-1)
        return len(batch["input_ids"])

    while True:
        yield from (lambda batch=batch: answer(batch) for batch in batches)


PEERS: dict[str, Callable[..., Iterator[Callable[[], int]]]] = {
    "modelscope": modelscope,
    "modelscope longest": lambda checkpoint, texts: modelscope(checkpoint, texts, padding="longest"),
    "onnxruntime int8": onnxruntime_int8,
}


def main() -> None:
    """Answer tasks until stdin ends."""
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w")  # the libraries print to stdout
    os.dup2(2, 1)
    running: dict[str, Iterator[Callable[[], int]]] = {}
    for line in sys.stdin:
        task = json.loads(line)
        name = task["peer"]
        if name not in running:
            running[name] = PEERS[name](task["checkpoint"], task["texts"])
            next(running[name])()
        done, cpu, end = 0, time.process_time(), time.monotonic() + task["seconds"]
        while time.monotonic() < end:
            done += next(running[name])()
        out.write(json.dumps(done / (time.process_time() - cpu)) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
