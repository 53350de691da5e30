"""
The virtual environments of the peers, one each under `bench/.venvs/`, so that none of them touches ours.

    .venv/bin/python bench/venvs.py            # make what is missing
    .venv/bin/python bench/venvs.py mosec      # only that one

A peer gets the very versions of the engine's libraries that our own environment has (onnxruntime, numpy, msgspec,
pyahocorasick) and reads `src/` through a `.pth` file, so model, features and decoding are the same code on the same
runtime; only the serving differs. An environment that cannot be made is recorded in `bench/.venvs/<name>.failed`.
"""

import argparse
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
VENVS = BENCH / ".venvs"

ENGINE = ("onnxruntime", "numpy", "msgspec", "pyahocorasick")
"""Pinned to our own versions in every peer."""

SERVING = ("uvloop", "httptools")
"""What makes uvicorn fast; a peer that serves with it gets them too."""

PEERS = {
    "fastapi": ("fastapi", "uvicorn"),
    "litserve": ("litserve",),
    "mosec": ("mosec",),
    "bentoml": ("bentoml",),
}
OTHERS = {
    "jionlp": ("jionlp",),
    "modelscope": (
        "modelscope[framework]==1.40.2", "transformers==4.48.3", "torch==2.13.0", "datasets==4.8.4", "numpy==2.4.6",
        "onnx==1.23.2", "onnxruntime==1.32.0", "fastapi", "uvicorn", *SERVING,
    ),
}  # fmt: skip
"""Libraries with their own code, so they get nothing of ours."""

LIMIT_S = 900.0


def python(name: str) -> Path:
    """Return the interpreter of an environment, made or not."""
    return VENVS / name / "bin" / "python"


def failure(name: str) -> str | None:
    """Say why an environment cannot be used, or None when it can."""
    failed = VENVS / f"{name}.failed"
    if failed.exists():
        return failed.read_text("utf-8").strip()
    return None if (VENVS / f"{name}.ok").exists() else "not installed; run bench/venvs.py"


def packages(name: str) -> dict[str, str]:
    """Return the versions of everything in an environment."""
    listed = subprocess.run(
        [python(name), "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True, timeout=60
    )
    return dict(line.split("==") for line in listed.stdout.splitlines() if "==" in line)


def make(name: str) -> None:
    """Make one environment; on failure leave the reason behind instead."""
    for mark in VENVS.glob(f"{name}.*"):
        mark.unlink()
    sys.stderr.write(f"{name}: installing\n")
    venv.create(VENVS / name, with_pip=True, clear=True)
    wanted = list(OTHERS.get(name) or (*PEERS[name], *SERVING, *(f"{p}=={version(p)}" for p in ENGINE)))
    try:
        subprocess.run(
            [python(name), "-m", "pip", "install", "--quiet", *wanted],
            check=True, capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = [line for line in str(error.stderr or error).splitlines() if line.strip()]
        (VENVS / f"{name}.failed").write_text("\n".join(lines[-3:]) + "\n", "utf-8")
        sys.stderr.write(f"{name}: failed: {lines[-1]}\n")
        return
    if name in PEERS:
        packages_dir = next((VENVS / name / "lib").glob("python3*")) / "site-packages"
        (packages_dir / "addrmesh.pth").write_text(f"{ROOT / 'src'}\n", "utf-8")
    (VENVS / f"{name}.ok").touch()
    sys.stderr.write(f"{name}: ready\n")


def main() -> None:
    """Make the environments that are named, or those that are missing."""
    known = [*PEERS, *OTHERS]
    parser = argparse.ArgumentParser(description="Make the virtual environments of the peers.")
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="NAME", help=", ".join(known))
    names = parser.parse_args().names or [name for name in known if failure(name)]
    VENVS.mkdir(exist_ok=True)
    for name in names:
        make(name)


if __name__ == "__main__":
    main()
