"""
A checkpoint to a release: the network, the vocabulary, a probe set answered by the very engine, the manifest.

Needs torch. A release in fp32 or int8 holds an ONNX graph: onnx is needed to build it, and neither to serve it. One in
fp16 or bf16 holds tensors, and is served by torch.
"""

import datetime as dt
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec

from addrmesh.address import gazetteer
from addrmesh.address.normalize import NORMALIZER_VERSION, normalize
from addrmesh.errors import ReleaseError
from addrmesh.inference.mgeo.checkpoint import Checkpoint, Task, read_checkpoint
from addrmesh.inference.mgeo.decode import DECODER_VERSION
from addrmesh.inference.mgeo.engine import MGeoTagger, PairScorer
from addrmesh.inference.mgeo.hub import MODELS
from addrmesh.inference.release import (
    BUILTIN,
    IN_TORCH,
    MANIFEST,
    Calibration,
    FileEntry,
    Limits,
    Manifest,
    PairProbe,
    Probe,
    Release,
    open_release,
    rounded,
)

Precision = Literal["fp32", "int8", "fp16", "bf16"]
Decoding = Literal["strict", "compatible"]

PAIR_TOKENS: dict[Task, int] = {"entity-alignment": 512, "rerank": 128}
"""How long a pair ModelScope's pipelines feed; a model with fewer positions takes fewer."""


def build_release(
    source: Path,
    out: Path,
    *,
    precision: Precision = "int8",
    decoding: Decoding = "strict",
    origin: str | None = None,
    sha256: str | None = None,
) -> Release:
    """
    Build a release from an MGeo checkpoint directory.

    Args:
        source: The directory, as ModelScope publishes it.
        out: The release; must not exist yet. Its last part is the release's name.
        precision: Of the matrix products in the encoder; fp16 and bf16 are for GPUs, and for taggers alone.
        decoding: `strict`, or `compatible` with ModelScope's pipeline.
        origin: Where the checkpoint comes from, as `id@revision`; the directory's name by default.
        sha256: What `pytorch_model.bin` must be.

    Raises:
        ReleaseError: The checkpoint is refused, or `out` exists.
    """
    if out.exists():
        raise ReleaseError(f"{out} exists; name a directory that does not, or remove it")
    checkpoint = read_checkpoint(source, sha256=sha256)
    contents = _network(checkpoint, precision) | {"vocab.txt": checkpoint.vocabulary}
    published = origin is not None and origin.partition("@")[0].partition("/")[2] in MODELS
    positions = checkpoint.config.max_position_embeddings
    checkpoint.weights.clear()  # 400 MB that the probes do not need
    manifest = Manifest(
        schema=1,
        name=out.name,
        task=checkpoint.task,
        family="mgeo-bert",
        source=f"{origin or source.resolve().name}, pytorch_model.bin sha256 {checkpoint.sha256}",
        precision=precision,
        created=dt.datetime.now(dt.UTC).date().isoformat(),
        licence="Apache-2.0, as its model card says" if published else "not stated by the checkpoint",
        tags=checkpoint.labels,
        normalizer_version=NORMALIZER_VERSION,
        decoder_version=DECODER_VERSION,
        gazetteer_version=gazetteer.version(),
        gazetteer_sha256=gazetteer.digest(),
        limits=Limits(positions - 2, min(PAIR_TOKENS.get(checkpoint.task, positions), positions)),
        calibration=Calibration((0.0, 1.0), (0.0, 1.0)),
        files={},
        decoding=decoding,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        draft = Path(folder) / out.name
        draft.mkdir()
        _write(draft, manifest, contents)
        probes = _answers(Release(out.name, draft, manifest))
        _write(draft, manifest, contents | {"probes.json": msgspec.json.encode(probes)})
        open_release(draft)
        draft.rename(out)
    return open_release(out)


def _network(checkpoint: Checkpoint, precision: Precision) -> dict[str, bytes]:
    """Return the files that hold the network. What they need is imported late, because each needs something else."""
    tagger = checkpoint.task == "elements-tagging"
    if precision not in IN_TORCH:
        from addrmesh.inference.mgeo.network import build

        graph = build(checkpoint.weights, checkpoint.config, tagger=tagger, precision=precision)
        return {"model.onnx": graph}
    if not tagger:
        raise ReleaseError(
            f"{precision} is for elements-tagging, this checkpoint for {checkpoint.task}; build it in int8"
        )
    from addrmesh.inference.mgeo.torch_engine import pack

    return pack(checkpoint.weights, checkpoint.config, precision)


def _write(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    files = {}
    for name, data in sorted(contents.items()):
        (folder / name).write_bytes(data)
        files[name] = FileEntry(hashlib.sha256(data).hexdigest(), len(data))
    whole = msgspec.json.encode(msgspec.structs.replace(manifest, files=files))
    (folder / MANIFEST).write_bytes(msgspec.json.format(whole, indent=1) + b"\n")


def _answers(release: Release) -> list[Probe] | list[PairProbe]:
    """Let the engine answer the built-in release's probe addresses."""
    addresses = [probe.address for probe in open_release(BUILTIN).probes()]
    if release.manifest.precision in IN_TORCH:
        return _steady(release, addresses)
    if release.manifest.task == "elements-tagging":
        return _spans(MGeoTagger(release), addresses)
    pairs = list(zip(addresses, [*addresses[1:], addresses[0]], strict=True))
    with closing(PairScorer(release)) as scorer:
        return [PairProbe(*pair, rounded(scores)) for pair, scores in zip(pairs, scorer.score(pairs), strict=True)]


def _spans(tagger: MGeoTagger, addresses: Sequence[str]) -> list[Probe]:
    with closing(tagger):
        answers = tagger.predict([normalize(address).text for address in addresses])
    return [
        Probe(address, [(c.type, c.start, c.end) for c in components])
        for address, components in zip(addresses, answers, strict=True)
    ]


def _steady(release: Release, addresses: Sequence[str]) -> list[Probe]:
    """
    Answer in the release's precision, on the CPU device, and keep what has the same spans in fp32.

    A GPU rounds otherwise than a CPU. Where rounding decides, a node that is well might not pass.
    """
    import torch

    from addrmesh.inference.mgeo.torch_engine import TorchNetwork, TorchTagger

    exact = _spans(MGeoTagger(release, TorchNetwork(release, torch.device("cpu"), torch.float32)), addresses)
    kept = [probe for probe in _spans(TorchTagger(release, "cpu"), addresses) if probe in exact]
    if not kept:
        raise ReleaseError(f"in {release.manifest.precision} the model answers no probe as in fp32; build it in fp32")
    return kept
