"""
What ModelScope itself answers; run by the parity test with the interpreter of an environment that has it.

Reads `{"path", "task", "texts", "pairs", "slow"}` from stdin and prints one JSON document: for tagging the spans of
every text and the logits of its tokens; for pairs the logits. `slow` texts also go through the pipeline as published,
padded to 512 tokens.
"""

import json
import sys

import torch
from modelscope.models import Model
from modelscope.pipelines import pipeline
from modelscope.preprocessors import Preprocessor


def tagging(asked: dict) -> dict:
    tagger = pipeline("token-classification", model=asked["path"], device="cpu", padding="longest")
    seen: list[list] = []
    forward = tagger.model.forward

    def recorded(**inputs: torch.Tensor) -> dict:
        output = forward(**inputs)
        seen.append(output.logits[0].tolist())
        return output

    tagger.model.forward = recorded

    def spans(output: dict) -> list[list]:
        return [[c["type"], int(c["start"]), int(c["end"])] for c in output["output"]]

    found = [spans(tagger(text)) for text in asked["texts"]]
    tagger.model.forward = forward
    padded = pipeline("token-classification", model=asked["path"], device="cpu")
    return {"spans": found, "logits": seen, "padded": [spans(padded(text)) for text in asked["slow"]]}


def pairs(asked: dict) -> dict:
    model = Model.from_pretrained(asked["path"], device="cpu").eval()
    logits = []
    ranks = asked["task"] == "text-ranking"
    options = {} if ranks else {"first_sequence": "a", "second_sequence": "b", "sequence_length": 512}
    preprocess = Preprocessor.from_pretrained(asked["path"], **options)
    for first, second in asked["pairs"]:
        data = {"source_sentence": [first], "sentences_to_compare": [second]} if ranks else (first, second)
        inputs = {k: v for k, v in preprocess(data).items() if isinstance(v, torch.Tensor)}
        with torch.no_grad():
            logits.append(model(**inputs).logits[0].tolist())
    return {"logits": logits}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    answer = tagging(asked) if asked["task"] == "token-classification" else pairs(asked)
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
