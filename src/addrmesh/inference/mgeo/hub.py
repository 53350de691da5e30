"""
Models from the ModelScope hub, with ModelScope's own client: proxies, a mirror (`MODELSCOPE_ENDPOINT`), its cache,
resuming, the digests it announces and its progress bar are as everywhere else. Only data files are fetched.
"""

import re
from pathlib import Path

from addrmesh.errors import ReleaseError

FILES = ("configuration.json", "config.json", "vocab.txt", "pytorch_model.bin")

MODELS = (
    "mgeo_geographic_elements_tagging_chinese_base",
    "mgeo_geographic_entity_alignment_chinese_base",
    "mgeo_geographic_textual_similarity_rerank_chinese_base",
)
"""What is served of the family; published as `iic/…`, and as `damo/…` before."""


def is_model_id(text: str) -> bool:
    """Tell a model's id, `owner/name`, from a path."""
    return re.fullmatch(r"[A-Za-z0-9_-]+/[A-Za-z0-9_.-]+", text) is not None


def fetch(model_id: str, folder: Path | None = None, *, revision: str | None = None) -> Path:
    """
    Fetch a model's files.

    Args:
        model_id: `owner/name`.
        folder: Where they go; ModelScope's cache by default.
        revision: A tag or branch; the hub's default when None.

    Raises:
        ReleaseError: ModelScope's client is not installed, or could not fetch them.
    """
    at = f"{model_id}@{revision}" if revision else model_id
    try:
        from modelscope.hub.snapshot_download import snapshot_download
    except ImportError as error:
        raise ReleaseError(
            f"{at} cannot be fetched: the hub's client is not installed; pip install 'addrmesh[modelscope]', "
            "or fetch the directory elsewhere, copy it here and name it"
        ) from error
    try:
        found = snapshot_download(
            model_id, revision=revision, allow_patterns=list(FILES), local_dir=None if folder is None else str(folder)
        )
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ReleaseError(
            f"{at} could not be fetched: {reason}; check id, revision and network (HTTPS_PROXY, MODELSCOPE_ENDPOINT), "
            "then run the command again: it goes on where it stopped"
        ) from error
    return Path(found)
