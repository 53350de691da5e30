"""
A ModelScope checkpoint directory, read as data.

Four files are read: `configuration.json`, `config.json`, `vocab.txt` and `pytorch_model.bin`, the last with torch's
weights-only loader, which builds tensors and nothing else. Whatever else is there (`requirements.txt`, Python files,
`allow_remote`) is neither executed nor obeyed. A file that is missing, cut short, altered or of another model is
refused: which, what was expected, what was found, what to do.
"""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from addrmesh.address.types import COMPONENT_TYPES
from addrmesh.errors import ReleaseError

CONFIGURATION, CONFIG, VOCABULARY, WEIGHTS = "configuration.json", "config.json", "vocab.txt", "pytorch_model.bin"
PREFIX = "bert.text_encoder."
UNUSED = ("bert.gis_encoder.", "bert.gis2text.", "bert.gis_type.", PREFIX + "embeddings.position_ids")
"""Tensors of the map side, which no text reaches, and a buffer that only counts."""

BOUNDS = {
    "vocab_size": (5, 1 << 18), "hidden_size": (1, 4096), "num_hidden_layers": (1, 64), "num_attention_heads": (1, 64),
    "intermediate_size": (1, 16384), "max_position_embeddings": (8, 8192), "type_vocab_size": (2, 16),
}  # fmt: skip
"""What a text encoder may measure; anything else is a mistake, or meant to fill the memory."""

OUTSIDE = "O"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Task = Literal["elements-tagging", "entity-alignment", "rerank"]
TASKS: dict[str, Task] = {
    "token-classification": "elements-tagging",
    "sentence-similarity": "entity-alignment",
    "text-ranking": "rerank",
}
"""ModelScope's name of a task to ours."""

_Document = TypeVar("_Document", bound=msgspec.Struct)


class Config(msgspec.Struct, frozen=True):
    """The shape of the text encoder, from `config.json`; other keys are not looked at."""

    model_type: Literal["bert"]
    hidden_act: Literal["gelu"]
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    fusion_layer: int
    layer_norm_eps: float = 1e-12
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None


class ModelSection(msgspec.Struct, frozen=True):
    """`model` in `configuration.json`."""

    type: Literal["mgeo"]
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None


class Configuration(msgspec.Struct, frozen=True):
    """`configuration.json`: what the model is for."""

    framework: Literal["pytorch"]
    task: str
    model: ModelSection


@dataclass(frozen=True)
class Checkpoint:
    """A directory that was found to hold one MGeo model."""

    task: Task
    config: Config
    labels: tuple[str, ...]
    vocabulary: bytes
    weights: dict[str, NDArray[np.float32]]
    """Names without `bert.text_encoder.`."""
    sha256: str
    """Of `pytorch_model.bin`: the hub gives a model no other version."""


def read_checkpoint(path: Path, *, sha256: str | None = None) -> Checkpoint:
    """
    Read an MGeo directory as ModelScope publishes it.

    Args:
        path: The directory.
        sha256: What `pytorch_model.bin` must be, when it is known.

    Raises:
        ReleaseError: The directory does not hold a model that addrmesh serves, or torch is not installed.
    """
    configuration = _decode(path / CONFIGURATION, Configuration)
    config = _decode(path / CONFIG, Config)
    if configuration.task not in TASKS:
        raise _refused(path / CONFIGURATION, "a task that is one of " + ", ".join(TASKS), repr(configuration.task))
    task = TASKS[configuration.task]
    _check_config(path / CONFIG, config)
    labels = _labels(path, task, configuration, config)
    vocabulary = _read(path / VOCABULARY)
    words = vocabulary_of(vocabulary, path / VOCABULARY)
    if len(words) != config.vocab_size:
        raise _refused(path / VOCABULARY, f"{config.vocab_size:,} lines, as {CONFIG} says", f"{len(words):,}")
    digest = _digest(path / WEIGHTS)
    if sha256 is not None and digest != sha256.lower():
        raise _refused(path / WEIGHTS, f"sha256 {sha256.lower()}", f"{digest} ({_size(path / WEIGHTS):,} bytes)")
    weights = _weights(path / WEIGHTS, _shapes(config, len(labels), pooler=task != "elements-tagging"))
    return Checkpoint(task, config, labels, vocabulary, weights, digest)


def vocabulary_of(data: bytes, origin: Path | str) -> dict[str, int]:
    """
    Return the tokens of a `vocab.txt` with their numbers.

    Raises:
        ReleaseError: It is not text, repeats a token or lacks one that BERT needs.
    """
    try:
        words = data.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise _refused(origin, "UTF-8 text", f"something else at byte {error.start:,}") from error
    numbers = {word.removesuffix("\r"): number for number, word in enumerate(words)}
    if len(numbers) != len(words):
        raise _refused(origin, "each token once", f"{len(words) - len(numbers)} of {len(words):,} repeated")
    if missing := [word for word in SPECIAL if word not in numbers]:
        raise _refused(origin, "the tokens " + " ".join(SPECIAL), "no " + " ".join(missing))
    return numbers


def _refused(file: Path | str, expected: str, found: str, hint: str = "") -> ReleaseError:
    hint = hint or "fetch the model again, or name another directory"
    return ReleaseError(f"{file} is refused: expected {expected}; found {found}; {hint}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _refused(file, "a file that can be read", error.strerror or type(error).__name__) from error


def _size(file: Path) -> int:
    return file.stat().st_size


def _decode(file: Path, kind: type[_Document]) -> _Document:
    data = _read(file)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refused(file, f"the {file.name} of an MGeo model", str(error)) from error


def _check_config(file: Path, config: Config) -> None:
    for name, (least, most) in BOUNDS.items():
        if not least <= getattr(config, name) <= most:
            raise _refused(file, f"{name} between {least} and {most:,}", f"{getattr(config, name):,}")
    if config.hidden_size % config.num_attention_heads:
        raise _refused(file, "hidden_size divisible by num_attention_heads", f"{config.hidden_size}")
    if config.fusion_layer < config.num_hidden_layers:
        found = f"fusion_layer {config.fusion_layer} of {config.num_hidden_layers} layers"
        raise _refused(file, "a text encoder without layers that look at a map", found)


def _labels(path: Path, task: Task, configuration: Configuration, config: Config) -> tuple[str, ...]:
    if task == "rerank":
        return ("score",)
    named = _numbered(path / CONFIGURATION, configuration.model) or _numbered(path / CONFIG, config)
    if named is None:
        raise _refused(path / CONFIGURATION, "model.label2id or model.id2label", "neither, nor one in config.json")
    if sorted(named) != list(range(len(named))):
        raise _refused(path / CONFIGURATION, f"labels numbered 0 to {len(named) - 1}", f"{sorted(named)[:4]} …")
    labels = tuple(named[number] for number in range(len(named)))
    known = {OUTSIDE, *(f"{place}-{kind}" for place in "BIES" for kind in COMPONENT_TYPES)}
    if task == "elements-tagging" and (strange := sorted(set(labels) - known)):
        found = " ".join(strange[:4])
        hint = "composition analysis and where-what cut are not served"
        raise _refused(path / CONFIGURATION, "the labels of elements tagging", f"{len(strange)} others: {found}", hint)
    if task == "elements-tagging" and OUTSIDE not in labels:
        raise _refused(path / CONFIGURATION, f"the label {OUTSIDE} for what is no element", "none")
    return labels


def _numbered(file: Path, section: ModelSection | Config) -> dict[int, str] | None:
    by_label, by_number = section.label2id, section.id2label
    inverse = None if by_label is None else {number: label for label, number in by_label.items()}
    if inverse is not None and by_number is not None and inverse != by_number:
        raise _refused(file, "id2label and label2id to say the same", "a difference")
    return inverse or by_number


def _shapes(config: Config, labels: int, *, pooler: bool) -> dict[str, tuple[int, ...]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, hidden),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, hidden),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, hidden),
    }
    linear = {"classifier": (labels, hidden)}
    norms = ["embeddings.LayerNorm"]
    for at in (f"encoder.layer.{layer}." for layer in range(config.num_hidden_layers)):
        linear |= {f"{at}attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        linear[f"{at}attention.output.dense"] = (hidden, hidden)
        linear[f"{at}intermediate.dense"] = (inner, hidden)
        linear[f"{at}output.dense"] = (hidden, inner)
        norms += [f"{at}attention.output.LayerNorm", f"{at}output.LayerNorm"]
    if pooler:
        linear["pooler.dense"] = (hidden, hidden)
    for name, (rows, columns) in linear.items():
        shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return shapes


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise _refused(file, "the model's weights", error.strerror or type(error).__name__) from error


def _weights(file: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    state = _load(file)
    names = {name.removeprefix(PREFIX): name for name in state if not name.startswith(UNUSED)}
    if missing := sorted(set(shapes) - set(names)):
        found = f"{len(names)} tensors without {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
        raise _refused(file, f"the {len(shapes)} tensors that config.json describes", found)
    if extra := sorted(name for name in set(names) - set(shapes) if not name.startswith("pooler.")):
        raise _refused(file, f"the {len(shapes)} tensors that config.json describes", f"also {', '.join(extra[:3])}")
    weights = {}
    for name, shape in shapes.items():
        tensor = state[names[name]]
        dense = str(tensor.layout) == "torch.strided"
        if tuple(tensor.shape) != shape or not tensor.is_floating_point() or not dense:
            found = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}{'' if dense else ', sparse'}"
            raise _refused(file, f"{names[name]} to be floats {list(shape)}", found)
        weights[name] = cast("NDArray[np.float32]", tensor.float().numpy())
        if not np.isfinite(weights[name]).all():
            raise _refused(file, f"{names[name]} to be numbers", "infinities or NaN")
    return weights


def _load(file: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise ReleaseError("building from a checkpoint needs torch; pip install 'addrmesh[mgeo]'") from error
    size = f"{_size(file):,} bytes"
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Nothing of it has run: the loader met something other than tensors and stopped.
        hint = "do not use this file; fetch the model again from where it was published"
        raise _refused(file, "tensors and nothing else", f"other objects ({size})", hint) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise _refused(file, "a whole torch archive", f"{size} that cannot be read; was it cut short?") from error
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise _refused(file, "a dictionary of tensors", f"{type(state).__name__} ({size})")
    return state
