"""
MGeo's tagger on one core, against the int8 limit of that core and against what a user gets elsewhere.

    .venv/bin/python bench/mgeo.py --checkpoint DIR

DIR is a checkpoint of full size as ModelScope publishes it, without `allow_remote` and `requirements.txt` (ModelScope
1.40.2 refuses those); random weights do, speed does not depend on them. Everything runs with one thread on one
core, one after the other, in rounds; figures are per CPU-second of the process, so other load on the core counts only
through its caches. The limit is oneDNN's int8 product of the network's largest shape, measured in every round. The
arithmetic counted is what the texts need: nothing for padding. Peers run in `bench/.venvs/modelscope`.
"""

import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

from processes import ONE_THREAD, SERVED, environment

os.environ.update(ONE_THREAD)

import torch

from addresses import distinct
from addrmesh.address.normalize import normalize
from addrmesh.inference.build import build_release
from addrmesh.inference.mgeo.engine import MGeoTagger
from results import Run, arguments, ratios
from venvs import failure, packages, python

PEERS = ("modelscope", "modelscope longest", "onnxruntime int8")
LINEAR_PER_TOKEN, ATTENTION_PER_PAIR = 2 * 12 * (4 * 768 * 768 + 2 * 768 * 3072), 4 * 12 * 768
EQUAL = 28
"""Characters of a text of equal lengths; 30 tokens."""


def gop(texts: Sequence[str]) -> float:
    """Return the arithmetic that the texts need, in 10^9 operations."""
    lengths = [len(text) + 2 for text in texts]
    return sum(LINEAR_PER_TOKEN * n + ATTENTION_PER_PAIR * n * n for n in lengths) / 1e9


def limit() -> Callable[[], float]:
    """Return a call that multiplies once and tells the 10^9 operations it took."""
    torch.backends.quantized.engine = "onednn"
    rows, inner, columns = 512, 768, 3072
    scales, zeros = torch.full((columns,), 0.001), torch.zeros(columns, dtype=torch.long)
    weight = torch.quantize_per_channel(torch.randn(columns, inner) * 0.02, scales, zeros, 0, torch.qint8)
    layer = torch.ao.nn.quantized.Linear(inner, columns)
    layer.set_weight_bias(weight, torch.zeros(columns))
    layer.scale, layer.zero_point = 1.0, 0
    x = torch.quantize_per_tensor(torch.randn(rows, inner), 0.02, 128, torch.quint8)

    def once() -> float:
        layer(x)
        return 2 * rows * inner * columns / 1e9

    return once


def rate(work: Callable[[], float], seconds: float) -> float:
    """Return what `work` does per CPU-second of this process, over a window."""
    done, cpu, end = 0.0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        done += work()
    return done / (time.process_time() - cpu)


def answers(tagger: MGeoTagger, groups: Sequence[Sequence[str]]) -> Callable[[], float]:
    """Return a call that answers the next group and tells its size in addresses."""
    turn: Iterator[Sequence[str]] = cycle(groups)

    def once() -> float:
        group = next(turn)
        tagger.predict(group)
        return len(group)

    return once


def main() -> None:
    """Measure and write `mgeo.json`."""
    parser = arguments("MGeo's tagger on one core.", addresses=512, rounds=5, window=2.0)
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory of a tagging checkpoint")
    parser.add_argument("--no-peers", action="store_true", help="measure only addrmesh")
    options = parser.parse_args()
    os.sched_setaffinity(0, {SERVED})
    torch.set_num_threads(1)
    texts = [normalize(address).text for address in distinct(options.addresses)]
    draw = random.Random(1)
    equal = [(text * 3)[:EQUAL] for text in texts]
    sets = {
        "one at a time": [[text] for text in texts],
        "8 of equal length": [draw.sample(equal, 8) for _ in range(64)],
        "ragged, 64 at a time": [texts[at : at + 64] for at in range(0, len(texts), 64)],
    }
    with tempfile.TemporaryDirectory() as folder:
        releases = {
            precision: build_release(options.checkpoint, Path(folder) / f"mgeo-{precision}", precision=precision)
            for precision in ("int8", "fp32")
        }
        options.release = releases["int8"].path
        run = Run("mgeo", options)
        taggers = {precision: MGeoTagger(release) for precision, release in releases.items()}
    measured: dict[str, list[float]] = {}
    peers = None
    if not options.no_peers:
        if reason := failure("modelscope"):
            sys.exit(f"no peers: {reason}")
        run.peer("modelscope", packages("modelscope"))
        command = [python("modelscope"), "-W", "ignore", Path(__file__).with_name("mgeo_peers.py")]
        run.say(f"peers: {shlex.join(map(str, command))}")
        peers = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment(),
        )  # fmt: skip
    product = limit()
    for number in range(1, options.rounds + 1):
        figures = {"limit, GOP/s": rate(product, options.window / 2)}
        for precision, tagger in taggers.items():
            for name, groups in sets.items():
                per_second = rate(answers(tagger, groups), options.window)
                figures[f"{precision}, {name}"] = per_second
                if precision == "int8":
                    needed = sum(map(gop, groups)) / sum(map(len, groups))
                    figures[f"share of the limit, {name}"] = 100 * per_second * needed / figures["limit, GOP/s"]
        if peers and peers.stdin and peers.stdout:
            for name in PEERS:
                task = {"peer": name, "checkpoint": str(options.checkpoint.resolve()), "texts": texts}
                peers.stdin.write(json.dumps(task | {"seconds": options.window}) + "\n")
                peers.stdin.flush()
                figures[name] = float(peers.stdout.readline())
        run.add("tagging", number, figures)
        for name, value in figures.items():
            measured.setdefault(name, []).append(value)
    if peers:
        peers.communicate()
    for name, values in measured.items():
        unit = "10^9 operations/s" if "GOP" in name else "%" if "share" in name else "addresses per CPU-second"
        run.row(name, values, unit)
    if peers:
        ours = measured["int8, ragged, 64 at a time"]
        for name in PEERS:
            run.row(f"int8 ragged : {name}", ratios(ours, measured[name]), "times")
        run.row(
            "int8 one at a time : modelscope", ratios(measured["int8, one at a time"], measured["modelscope"]), "times"
        )
    run.note(f"{len(texts)} made-up addresses, {sum(map(len, texts)) / len(texts):.1f} characters on average.")
    run.write()


if __name__ == "__main__":
    main()
