"""What sentence-transformers saves with a causal reranker: the tokens that answer, and the template of its prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from rerankd._common.json_parsing import parse_json
from rerankd.errors import CorruptModelError
from rerankd.models.chat_template import ChatTemplate
from rerankd.models.saved_options import SENTENCE_TRANSFORMERS, TOKENIZER, TRANSFORMER

MODULES, LOGIT_SCORE, CHAT_TEMPLATE = "modules.json", "1_LogitScore", "chat_template.jinja"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def saved_answers(folder: Path, vocabulary: int) -> tuple[int, int | None] | None:
    """Return the ids of the tokens for "relevant" and "not relevant" that a folder was saved with.

    Args:
        folder: folder of the model.
        vocabulary: number of tokens of the model.

    Returns:
        Both ids, the second None for a model that has no such token; None if the folder has no `LogitScore` module.

    Raises:
        CorruptModelError: its config.json has no valid ids.
    """
    path = _module(folder, "LogitScore", LOGIT_SCORE) / "config.json"
    if not path.is_file():
        return None
    content = _read(path)
    true_id: Any
    false_id: Any
    true_id, false_id = content.get("true_token_id"), content.get("false_token_id")
    if not _is_id(true_id, vocabulary) or not (false_id is None or _is_id(false_id, vocabulary)):
        raise CorruptModelError(
            f"{path}: true_token_id {true_id!r} and false_token_id {false_id!r} are not tokens of the model, which has "
            f"{vocabulary}.",
            hint='Write the id of the token that means "relevant", and that of its opposite or null.',
        )
    return int(true_id), None if false_id is None else int(false_id)


def is_bi_encoder(folder: Path) -> bool:
    """Return True if a folder was saved as a bi-encoder: its modules pool the states of all tokens into one vector."""
    return any(_type(module) == "Pooling" for module in _modules(folder)) or (folder / "1_Pooling").is_dir()


def token_id(folder: Path, token: str) -> int | None:
    """Return the id of a token in `tokenizer.json`; None if it has none."""
    content = _read(folder / "tokenizer.json")
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    number = vocabulary.get(token) if isinstance(vocabulary, dict) else None
    return number if isinstance(number, int) else None


def saved_chat_template(folder: Path) -> ChatTemplate | None:
    """Return the chat template of a folder; None if it has none, or one for conversations only.

    A folder that sentence-transformers wrote says so in `modules.json`; in another folder, a template is used if it
    names the roles `query` and `document`.

    Args:
        folder: folder of the model.
    """
    tokenizer, transformer = _read(folder / TOKENIZER), _read(folder / TRANSFORMER)
    source = _source(folder, tokenizer)
    if source is None:
        return None
    special = {name: _text(tokenizer[name]) for name in _SPECIAL if tokenizer.get(name) is not None}
    options = transformer.get("processing_kwargs")
    given = options.get("chat_template") if isinstance(options, dict) else None
    kinds = transformer.get("modality_config")
    message = kinds.get("message") if isinstance(kinds, dict) else None
    form = message.get("format") if isinstance(message, dict) else None
    chat = ChatTemplate(
        source,
        special | (given if isinstance(given, dict) else {}),
        None if form not in ("flat", "structured") else form == "structured",
        _default_prompt(folder),
    )
    saved = any(_type(module) == "Transformer" for module in _modules(folder))
    return chat if saved or chat.names_roles else None


def _source(folder: Path, tokenizer: Mapping[str, Any]) -> str | None:
    path = folder / CHAT_TEMPLATE
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    source = tokenizer.get("chat_template")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    return source if isinstance(source, str) and source else None


def _default_prompt(folder: Path) -> str | None:
    """Return the prompt that sentence-transformers gives to every pair; None if none is the default."""
    content = _read(folder / SENTENCE_TRANSFORMERS)
    prompts, name = content.get("prompts"), content.get("default_prompt_name")
    prompt = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    return prompt if isinstance(prompt, str) and prompt else None


def _modules(folder: Path) -> list[Mapping[str, Any]]:
    try:
        content = parse_json((folder / MODULES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [module for module in content if isinstance(module, dict)] if isinstance(content, list) else []


def _type(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _module(folder: Path, kind: str, usual: str) -> Path:
    """Return the folder of the module of a type; the usual one if `modules.json` lists none, or one elsewhere."""
    for module in _modules(folder):
        path = PurePosixPath(str(module.get("path", "")))
        if _type(module) == kind and len(path.parts) == 1 and path.name not in ("", ".", ".."):
            return folder / path.name
    return folder / usual


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(token: object) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def _is_id(value: object, vocabulary: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocabulary
