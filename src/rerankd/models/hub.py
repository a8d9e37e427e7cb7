"""Download of repositories from the Hugging Face hub, through the hub's cache.

Only safetensors, ONNX, tokenizer and configuration files are fetched; what is cached needs no network.
`HF_HUB_OFFLINE`, `HF_TOKEN`, `HF_HOME` and `HF_ENDPOINT` (a mirror) have the meaning that huggingface_hub gives them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

from rerankd._common.error_text import first_line
from rerankd._common.json_parsing import parse_json
from rerankd._common.proxies import is_loopback, uses_proxies
from rerankd.errors import ModelError, ModelNotFoundError, RerankdError
from rerankd.models.families import ModelConfig, read_architecture, recognise
from rerankd.models.reference import ModelReference

_PATTERNS = [
    "config.json",
    "modules.json",
    "[0-9]*_*/config.json",
    "chat_template.jinja",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "adapter_config.json",
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
    """Return True if the environment forbids access to the hub."""
    return any(os.environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def endpoint() -> str | None:
    """Return the URL of the mirror to use instead of the hub; None if none is set."""
    return os.environ.get("HF_ENDPOINT") or None


def fetch(reference: ModelReference, *, token: str | None = None, cache_dir: str | None = None) -> Path:
    """Return the local snapshot folder of a hub reference, downloading what is missing.

    Raises:
        ModelNotFoundError: the repository or revision does not exist, access is denied, or the hub cannot be reached
            and the model is not in the cache.
    """
    _check_endpoint()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    obstacle = _obstacle()
    try:
        with _direct_connections() if is_loopback(endpoint() or "") else nullcontext():
            folder = snapshot_download(
                reference.name,
                revision=reference.revision,
                allow_patterns=_PATTERNS,
                token=token,
                cache_dir=cache_dir,
                endpoint=None if obstacle else endpoint(),
                local_files_only=offline() or obstacle is not None,
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
        if obstacle is not None:
            raise ModelNotFoundError(
                f"{reference} is not in the local cache, and {obstacle.message}", hint=obstacle.hint
            ) from error
        raise ModelNotFoundError(_not_cached(reference), hint=_reach(reference)) from error
    except Exception as error:  # the hub's client raises those of its HTTP library, whichever it is
        raise ModelNotFoundError(
            f"{reference} could not be fetched from the hub ({first_line(error)}).", hint=_reach(reference)
        ) from error
    return Path(folder)


def _obstacle() -> RerankdError | None:
    """Return the reason why the environment allows no connection to the hub; None if there is none."""
    address = endpoint() or ""
    if address and not address.startswith(("https://", "http://")):
        scheme = "http" if is_loopback(address) else "https"
        return ModelNotFoundError(
            f"HF_ENDPOINT is {address!r}, which has no scheme.", hint=f"Set it to {scheme}://{address}."
        )
    try:
        uses_proxies(address)
    except RerankdError as error:
        return error
    return None


def _check_endpoint() -> None:
    """Check the URL of the mirror, without which the hub's client cannot even be imported.

    Raises:
        ModelNotFoundError: its host or port is not valid.
    """
    try:
        _ = urlsplit(endpoint() or "").port
    except ValueError as error:
        raise ModelNotFoundError(f"HF_ENDPOINT is {endpoint()!r} ({error}).", hint="Set it to a URL.") from error


@contextmanager
def _direct_connections() -> Iterator[None]:
    """Hide the environment's proxies from the hub's client, which would use them for this machine too."""
    names = [name for name in os.environ if name.lower() in ("all_proxy", "http_proxy", "https_proxy")]
    hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(hidden)


def snapshot_of(folder: Path) -> Path:
    """Return the folder with a model's files: a snapshot, if `folder` is a repository in the hub's cache.

    Raises:
        ModelNotFoundError: the repository has no snapshot, or several and none of them is the main revision.
    """
    snapshots = folder / "snapshots"
    if (folder / "config.json").exists() or not snapshots.is_dir():
        return folder
    complete = sorted(path for path in snapshots.iterdir() if path.is_dir() and any(path.iterdir()))
    main = folder / "refs" / "main"
    commit = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    found = [path for path in complete if path.name == commit] or (complete if len(complete) == 1 else [])
    if not found:
        revisions = ", ".join(path.name for path in complete) or "none"
        raise ModelNotFoundError(
            f"{folder} is a repository in the hub's cache without one main snapshot (snapshots: {revisions}).",
            hint="Pass one of the folders in its snapshots, or fetch the model again.",
        )
    return found[0]


def repository_of(folder: Path) -> str:
    """Return `org/name` of a snapshot folder in the hub's cache; empty for another folder.

    Example:
        >>> repository_of(Path("hub/models--BAAI--bge-reranker-base/snapshots/2cfc18c"))
        'BAAI/bge-reranker-base'
    """
    cached = folder.parent.parent.name
    is_snapshot = folder.parent.name == "snapshots" and cached.startswith("models--")
    return cached.removeprefix("models--").replace("--", "/", 1) if is_snapshot else ""


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
    """Return the supported rerankers in the hub's cache as pairs of name and snapshot folder.

    Chat models, which can be used as rerankers too, are left out.
    """
    _check_endpoint()
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    models = []
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
                values = parse_json(config.read_text(encoding="utf-8"))
                read_architecture(values, repository.repo_id, revision.snapshot_path)
                model = ModelConfig(values, repository.repo_id, revision.snapshot_path)
                if not recognise(model).made_to_rank(model):
                    continue
            except (ModelError, ValueError):
                continue
            models.append((f"{repository.repo_id}@{revision.commit_hash[:8]}", revision.snapshot_path))
    return models
