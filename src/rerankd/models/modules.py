"""Chain of modules that sentence-transformers saves as `modules.json`, with a folder for each module.

Reads configurations; the weights are in `Checkpoint`. Does not decide what a chain means: families do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rerankd._common.json_parsing import parse_json
from rerankd.errors import CorruptModelError, UnsupportedModelError

FILE_NAME = "modules.json"
SCORES = "scores"  # name of a reranker's output
_LIBRARY = "sentence_transformers"
_WEIGHTED = ("Dense", "LayerNorm")
_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class Module:
    """Module of a chain.

    Attributes:
        kind: class of sentence-transformers without its package, such as `Dense`; the full name of another class.
        folder: folder below the model's folder; empty for the model's folder itself.
        config: the parsed configuration, empty if the module has none.
    """

    kind: str
    folder: str
    config: Mapping[str, Any]


def read_modules(folder: Path) -> list[Module]:
    """Read the chain of a model folder; an empty one if the folder has no `modules.json`.

    Args:
        folder: folder of the model.

    Raises:
        CorruptModelError: `modules.json` or the configuration of a module is not valid.

    Example:
        >>> read_modules(Path("a/plain/checkpoint"))
        []
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return []
    try:
        entries = [(str(entry["type"]), str(entry["path"])) for entry in parse_json(path.read_text(encoding="utf-8"))]
        if any(PurePosixPath(place).is_absolute() or ".." in place or "\\" in place for _, place in entries):
            raise ValueError("a folder outside the model")
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptModelError(
            f"{path} is not a valid list of modules ({error}).", hint="Fetch the model again."
        ) from error
    return [Module(_kind(name), place, _config(folder / place, _kind(name))) for name, place in entries]


def pooling_mode(module: Module) -> str:
    """Return how a Pooling module makes one vector of the tokens' vectors, several ways joined with `+`.

    Example:
        >>> pooling_mode(Module("Pooling", "1_Pooling", {"pooling_mode_cls_token": True}))
        'cls'
    """
    mode = module.config.get("pooling_mode")
    if mode is None:
        mode = [name for key, name in _POOLING.items() if module.config.get(key)] or "mean"
    return mode if isinstance(mode, str) else "+".join(map(str, mode))


def scores_pairs(modules: Sequence[Module]) -> bool:
    """Return True if a chain makes a score of a vector: it ends in a Dense layer whose output is named `scores`."""
    return bool(modules) and modules[-1].kind == "Dense" and modules[-1].config.get("module_output_name") == SCORES


def weight_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the modules behind the first one that have weights.

    Args:
        folder: folder of the model.

    Returns:
        Folder by the prefix of its weights' names: number and kind of the module, such as `2_Dense`.

    Raises:
        CorruptModelError: `modules.json` or the configuration of a module is not valid.
    """
    modules = read_modules(folder)
    if not scores_pairs(modules):
        return {}
    return {
        f"{number}_{module.kind}": folder / module.folder
        for number, module in enumerate(modules)
        if module.kind in _WEIGHTED
    }


def module_files(folder: Path) -> dict[str, Path]:
    """Return the files in the folders of a reranker's modules, by their path below the model's folder.

    Raises:
        CorruptModelError: `modules.json` or the configuration of a module is not valid.
    """
    modules = read_modules(folder)
    places = sorted({module.folder for module in modules if module.folder}) if scores_pairs(modules) else []
    paths = [path for place in places if (folder / place).is_dir() for path in sorted((folder / place).iterdir())]
    return {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}


def check_one_folder(folder: Path, what: str) -> None:
    """Check that no weights of a model are in folders below its own.

    Args:
        folder: folder of the model.
        what: what needs it, for the error message.

    Raises:
        UnsupportedModelError: there are some.
        CorruptModelError: `modules.json` or the configuration of a module is not valid.
    """
    if weight_folders(folder):
        raise UnsupportedModelError(
            f"{what} needs a model in one folder; {folder} has modules in several ({FILE_NAME}).",
            hint=f"Compile it first: rerankd models compile {folder} --out DIR, and pass DIR.",
        )


def _kind(name: str) -> str:
    return name.rpartition(".")[2] if name.partition(".")[0] == _LIBRARY else name


def _config(folder: Path, kind: str) -> Mapping[str, Any]:
    path = folder / ("sentence_bert_config.json" if kind == "Transformer" else "config.json")
    if not path.is_file():
        if kind in _WEIGHTED:
            raise CorruptModelError(
                f"{folder}: config.json of the module is missing.",
                hint=f"Fetch the model again, with the folders that {FILE_NAME} names.",
            )
        return {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise CorruptModelError(f"{path} is not valid JSON ({error}).", hint="Fetch the model again.") from error
    return content
