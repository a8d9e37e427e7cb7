"""Fetch a repository from the Hugging Face hub, or find it in the hub's cache.

Does: `HF_HUB_OFFLINE`, `HF_TOKEN`, `HF_HOME` and `HF_ENDPOINT` (a mirror) as huggingface_hub reads them, each hub
error as one sentence. Does not: fetch anything but safetensors, ONNX, tokenizer and configuration files.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from rerankd.errors import ModelError, ModelNotFoundError
from rerankd.models.architecture import read_architecture
from rerankd.models.reference import ModelReference

_PATTERNS = [
    "config.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "rerankd.json",
    "model.onnx",
    "model.onnx.data",
]
_TRUE = {"1", "true", "yes", "on"}


def offline() -> bool:
    """Whether the environment forbids going to the hub."""
    return any(os.environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def endpoint() -> str | None:
    """The mirror to use instead of the hub, if one is set."""
    return os.environ.get("HF_ENDPOINT") or None


def fetch(reference: ModelReference, *, token: str | None = None, cache_dir: str | None = None) -> Path:
    """Return the local snapshot folder of a hub reference, downloading what is missing.

    Raises:
        ModelNotFoundError: no such repository or revision, no permission, or not reachable and not in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(
            reference.name,
            revision=reference.revision,
            allow_patterns=_PATTERNS,
            token=token,
            cache_dir=cache_dir,
            endpoint=endpoint(),
            local_files_only=offline(),
        )
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"{reference} is gated.", hint="Accept its terms on the hub, then set HF_TOKEN to your access token."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(
            f"{reference.name} has no revision {reference.revision!r}.",
            hint="Use a branch, a tag or a commit that exists.",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"There is no model {reference.name!r} on the hub, or it is private.",
            hint="Check the spelling; for a private model set HF_TOKEN.",
        ) from error
    except LocalEntryNotFoundError as error:
        raise ModelNotFoundError(_not_cached(reference), hint=_reach(reference)) from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelNotFoundError(f"{reference} could not be fetched from the hub.", hint=_reach(reference)) from error
    return Path(folder)


def _not_cached(reference: ModelReference) -> str:
    if offline():
        return f"{reference} is not in the local cache and HF_HUB_OFFLINE forbids fetching it."
    return f"{reference} is not in the local cache and the hub cannot be reached."


def _reach(reference: ModelReference) -> str:
    return (
        f"Fetch it where there is a network (hf download {reference.name}), set HF_ENDPOINT to a mirror, "
        "pass a folder, or use the bundled model 'mini'."
    )


def cached_models(cache_dir: str | None = None) -> list[tuple[str, Path]]:
    """Repositories in the hub's cache whose configuration names a supported network: (name, snapshot folder)."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    found = []
    try:
        cache = scan_cache_dir(cache_dir)
    except CacheNotFound:
        return []
    for repository in sorted(cache.repos, key=lambda r: r.repo_id):
        for revision in repository.revisions:
            config = revision.snapshot_path / "config.json"
            if repository.repo_type != "model" or not config.is_file():
                continue
            try:
                read_architecture(json.loads(config.read_text(encoding="utf-8")), repository.repo_id)
            except (ModelError, ValueError):
                continue
            found.append((f"{repository.repo_id}@{revision.commit_hash[:8]}", revision.snapshot_path))
    return found
