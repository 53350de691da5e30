"""MGeo in torch: the numbers of onnxruntime, whatever runs with a text, and less of it when memory runs out."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from typer.testing import CliRunner

pytest.importorskip("torch", reason="the engine under test")
pytest.importorskip("onnx", reason="releases are built with onnx")

import torch

from addrmesh.address.normalize import normalize
from addrmesh.cli.main import app
from addrmesh.errors import ConfigError, EngineError, ReleaseError
from addrmesh.inference.build import build_release
from addrmesh.inference.engine import load_engine
from addrmesh.inference.mgeo import torch_engine
from addrmesh.inference.mgeo.engine import MGeoTagger
from addrmesh.inference.mgeo.torch_engine import SIZES, TEXT_TOKENS, Size, TorchNetwork, TorchTagger, fitting, size_of
from addrmesh.inference.release import Release
from support.mgeo import assert_the_same_in_any_company, made_up, write_checkpoint

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that bf16 says exactly, so that what differs is the arithmetic; heads of a width that a GPU takes."""
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({k: t.bfloat16().float() if t.is_floating_point() else t for k, t in weights.items()},
               folder / "pytorch_model.bin")  # fmt: skip
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 3}), "utf-8")
    return folder


@pytest.fixture(scope="module")
def releases(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    out = tmp_path_factory.mktemp("releases")
    return {name: build_release(checkpoint, out / name, precision=name) for name in ("fp32", "fp16", "bf16")}


@pytest.fixture(params=["fp16", "bf16"])
def tagger(request: pytest.FixtureRequest, releases: dict[str, Release]) -> Iterator[TorchTagger]:
    engine = load_engine(releases[request.param], "cpu")
    assert isinstance(engine, TorchTagger)
    with closing(engine):
        yield engine


def scores(network: object, ids: list[list[int]]) -> list[np.ndarray]:
    found: list[np.ndarray] = [np.empty(0)] * len(ids)
    for rows, (values, *_) in network.run(range(len(ids)), ids):
        parts = np.split(values, np.cumsum([len(ids[row]) for row in rows])[:-1])
        for row, part in zip(rows, parts, strict=True):
            found[row] = part
    return found


def spans(tagger: MGeoTagger, texts: list[str]) -> list[set[tuple]]:
    return [{c[:3] for c in found} for found in tagger.predict(texts)]


@given(st.lists(st.integers(3, 512), min_size=1, max_size=600), st.sampled_from(SIZES))
def test_runs_take_texts_in_order_and_fit_their_size_with_little_filling(lengths: list[int], limit: int) -> None:
    left = lengths
    while left:
        count = fitting(left, limit)
        run, left = left[:count], left[count:]
        size = size_of(run, 512)
        assert sum(run) <= size.tokens
        assert count <= size.texts
        assert max(run) <= size.longest
        assert count == 1 or size.tokens <= limit
        assert size.tokens == 32 or max(sum(run), count * TEXT_TOKENS) * 3 / 2 >= size.tokens
        assert not left or max(sum(run) + left[0], (count + 1) * TEXT_TOKENS) > limit


def test_a_run_has_nothing_between_its_texts() -> None:
    inputs = torch_engine._inputs([[9, 8, 7], [6, 5], [4, 3, 2, 1]], Size(32, 32)).tolist()
    assert inputs[:9] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert inputs[32:41] == [0, 1, 2, 0, 1, 0, 1, 2, 3]
    assert inputs[64:] == [0, 3, 5, 9, 9]


def test_every_run_has_a_size_that_is_prepared(tagger: TorchTagger) -> None:
    prepared = tagger.network.sizes
    assert prepared == sorted(prepared, reverse=True)
    assert {size_of([length] * count, 512) for length in (3, 30, 128, 129, 512) for count in (1, 2, 10)} <= {*prepared}


def test_scores_in_fp32_are_those_of_onnxruntime(releases: dict[str, Release]) -> None:
    reference = MGeoTagger(releases["fp32"])
    ids = [reference.tokenizer.characters(text).ids for text in made_up(200)]
    wanted = scores(reference._network, ids)
    found = scores(TorchNetwork(releases["bf16"], CPU, torch.float32), ids)
    assert max(np.abs(a - b).max() for a, b in zip(wanted, found, strict=True)) <= 1e-4


def test_spans_are_those_of_fp32(tagger: TorchTagger, releases: dict[str, Release]) -> None:
    texts = made_up(300)
    wanted, found = spans(MGeoTagger(releases["fp32"]), texts), spans(tagger, texts)
    same = sum(len(a & b) for a, b in zip(wanted, found, strict=True))
    assert same >= 0.99 * sum(map(len, wanted))


def test_an_answer_is_the_same_to_the_byte_alone_and_in_any_company(tagger: TorchTagger) -> None:
    assert_the_same_in_any_company(tagger, made_up(300))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_are_bit_for_bit_the_same_in_a_run_of_any_size(releases: dict[str, Release], dtype: object) -> None:
    network = TorchNetwork(releases["bf16"], CPU, dtype)
    draw = random.Random(3)
    own = [draw.randrange(100) for _ in range(23)]
    alone = scores(network, [own])[0]
    for tokens in SIZES:
        others = [[draw.randrange(100) for _ in range(draw.randint(3, 60))] for _ in range(tokens // 40)]
        others.insert(draw.randint(0, len(others)), own)
        assert np.array_equal(scores(network, others)[others.index(own)], alone)


def test_blank_text_has_no_components(tagger: TorchTagger) -> None:
    assert tagger.predict([" ", "\u200b", "省"])[:2] == [(), ()]
    assert tagger.predict([" "]) == [()]


class Cramped:
    """A device with room for some tokens: says so as torch does, and remembers what it was asked."""

    def __init__(self, network: TorchNetwork, room: int) -> None:
        self.asked: list[int] = []
        self._launch, self._room = network._launch, room
        network._launch = self  # type: ignore[assignment,method-assign]

    def __call__(self, ids: list[list[int]]) -> object:
        self.asked.append(sum(map(len, ids)))
        if self.asked[-1] > self._room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._launch(ids)


def test_a_run_without_memory_is_split_and_the_limit_is_remembered_and_logged(releases: dict[str, Release]) -> None:
    texts = made_up(120)
    tagger = TorchTagger(releases["bf16"], "cpu")
    wanted = tagger.predict(texts)
    device = Cramped(tagger.network, 600)
    with capture_logs() as events:
        assert tagger.predict(texts) == wanted
    assert tagger.network.limit == 512
    lowered = [event for event in events if event["event"] == "engine.limit_lowered"]
    assert lowered[-1] == {
        "event": "engine.limit_lowered", "log_level": "warning", "device": "cpu", "failed_tokens": 768, "limit": 512,
    }  # fmt: skip
    device.asked.clear()
    assert tagger.predict(texts) == wanted
    assert max(device.asked) <= 512


def test_a_text_for_which_there_is_no_memory_at_all_is_an_error_that_says_so(releases: dict[str, Release]) -> None:
    tagger = TorchTagger(releases["bf16"], "cpu")
    Cramped(tagger.network, 100)
    with pytest.raises(EngineError, match="cpu has no memory left for a text of 302 tokens"):
        tagger.predict(["省" * 20, "市" * 300])
    assert tagger.predict(["省" * 20])


def test_a_device_that_fails_is_an_engine_error_and_the_release_can_be_loaded_anew(
    releases: dict[str, Release],
) -> None:
    tagger = TorchTagger(releases["bf16"], "cpu")
    wanted = tagger.predict(["浙江省1号"])
    with pytest.raises(EngineError, match="cpu failed on a run of 1 texts"):
        list(tagger.network.run([0], [[1 << 20]]))  # no such row in the table of words
    tagger.close()
    with pytest.raises(EngineError, match="cpu failed on a run of 1 texts"):
        tagger.predict(["浙江省1号"])
    with closing(load_engine(releases["bf16"], "cpu")) as again:
        assert again.predict(["浙江省1号"]) == wanted


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "mps", "cuda:-1", ""])
def test_a_device_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed: auto, cpu, cuda, cuda:N"):
        torch_engine.device_of(name)


def test_a_gpu_that_is_not_here_is_refused(releases: dict[str, Release]) -> None:
    with pytest.raises(ConfigError, match=r"found cuda:99, but torch .* sees \d+ GPUs here"):
        load_engine(releases["bf16"], "cuda:99")


def test_a_release_for_the_cpu_refuses_a_gpu(releases: dict[str, Release]) -> None:
    with pytest.raises(ConfigError, match=r"is in fp32, which runs on the CPU; say auto"):
        load_engine(releases["fp32"], "cuda")


def test_the_release_holds_tensors_and_steady_probes(releases: dict[str, Release]) -> None:
    release = releases["bf16"]
    assert sorted(path.name for path in release.path.iterdir()) == [
        "config.json", "manifest.json", "model.safetensors", "probes.json", "vocab.txt",
    ]  # fmt: skip
    assert release.manifest.precision == "bf16"
    texts = [normalize(probe.address).text for probe in release.probes()]
    assert 12 <= len(texts) <= 24
    exact = MGeoTagger(release, TorchNetwork(release, CPU, torch.float32))
    assert [set(probe.components) for probe in release.probes()] == spans(exact, texts)


def test_pairs_are_not_built_for_a_gpu(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", "text-ranking")
    with pytest.raises(ReleaseError, match="bf16 is for elements-tagging, this checkpoint for rerank"):
        build_release(folder, tmp_path / "out", precision="bf16")


def test_weights_beyond_fp16_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("config.json", "configuration.json", "vocab.txt"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    weights = torch.load(checkpoint / "pytorch_model.bin", weights_only=True)
    weights["bert.text_encoder.encoder.layer.0.output.dense.weight"][0, 0] = 1e6
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(ReleaseError, match=r"encoder\.layer\.0\.output\.dense\.weight has weights beyond the range"):
        build_release(tmp_path, tmp_path / "out", precision="fp16")


def test_a_node_needs_torch_only_for_such_a_release(releases: dict[str, Release]) -> None:
    script = (
        "import sys; from pathlib import Path; import addrmesh.node.app\n"
        "from addrmesh.inference.engine import load_engine\n"
        "from addrmesh.inference.release import open_release\n"
        "assert 'torch' not in sys.modules\n"
        "sys.modules['torch'] = None\n"
        f"load_engine(open_release(Path({str(releases['fp32'].path)!r})))\n"
        f"load_engine(open_release(Path({str(releases['bf16'].path)!r})))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert "is in bf16 and needs torch; pip install 'addrmesh[gpu]'" in done.stderr.splitlines()[-1]


def test_the_commands_build_verify_and_parse(checkpoint: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    out = tmp_path / "mgeo"
    assert "bf16, in " in run("release", "build", "--from", checkpoint, "-o", out, "--precision", "bf16")
    assert "probes are answered as expected" in run("release", "verify", out, "--device", "cpu")
    assert run("parse", "--release", out, "--device", "cpu", "浙江省杭州市12号")


def test_a_node_serves_such_a_release(releases: dict[str, Release]) -> None:
    release = releases["bf16"]
    command = [
        Path(sys.executable).with_name("addrmesh"), "node", "serve", "--port", "0", "--release", release.path,
        "--device", "cpu",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        try:
            assert node.stderr is not None
            events = map(json.loads, node.stderr)
            port = next(event["port"] for event in events if event["event"] == "node.listening")
            assert next(event for event in events if event["event"] == "node.started")["release"] == release.id
            reply = httpx.post(f"http://127.0.0.1:{port}/v1/address:parse", json={"address": "浙江省12号"}, timeout=20)
        finally:
            node.terminate()
            node.communicate(timeout=20)
    assert (reply.status_code, node.returncode) == (200, 0)


def test_the_kernels_for_a_gpu_fit_together_in_every_size(releases: dict[str, Release]) -> None:
    """Types and shapes alone, which torch works out without a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    network = TorchNetwork(releases["bf16"], CPU)
    weights = {name: (tensor.shape, tensor.dtype) for name, tensor in network._weights.items()}
    with FakeTensorMode(), torch.inference_mode():
        network._weights = {n: torch.empty(s, dtype=dtype, device="cuda") for n, (s, dtype) in weights.items()}
        for size in network.sizes:
            inputs = torch.zeros(2 * size.tokens + size.texts + 1, dtype=torch.int32, device="cuda")
            shapes = [tuple(tensor.shape) for tensor in network.forward(inputs, size)]
            assert shapes == [(size.tokens, 57), (size.tokens,), (size.tokens,)]


@needs_cuda
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_gpu_answers_as_the_cpu_does_in_every_size(releases: dict[str, Release], precision: str) -> None:
    with closing(TorchTagger(releases[precision], "cuda")) as gpu, closing(TorchTagger(releases[precision])) as auto:
        assert set(gpu.network._graphs._graphs) == set(gpu.network.sizes)
        assert auto.network.device.type == "cuda"
        exact = MGeoTagger(releases[precision], TorchNetwork(releases[precision], CPU, torch.float32))
        for count in (1, 2, 5, 20, 100, 400):
            texts = made_up(count, seed=count)
            wanted, found = spans(exact, texts), spans(gpu, texts)
            same = sum(len(a & b) for a, b in zip(wanted, found, strict=True))
            assert same >= 0.97 * sum(map(len, wanted)) - 1
            assert gpu.predict(texts) == gpu.predict(texts)


@needs_cuda
def test_a_gpu_is_given_back(releases: dict[str, Release]) -> None:
    left = []
    for _ in range(3):
        with closing(TorchTagger(releases["bf16"], "cuda:0")) as tagger:
            assert tagger.predict(["浙江省1号"])
            del tagger
        left.append(torch.cuda.memory_reserved())
    assert left[0] == left[1] == left[2]
