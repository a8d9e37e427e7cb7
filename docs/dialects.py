"""Tables of docs/reference/dialects.md, made from `field_support`: each field in each form of a body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerankd.server.routes.rerank import (
    INFINITY_PATHS,
    PREDICT_PATHS,
    SCORE_PATHS,
    TEI_PATHS,
    UNION_PATHS,
    VOYAGE_PATHS,
)
from rerankd.server.schemas.field_support import FIELDS, FORMS, FieldSupport, RequestForm


@dataclass(frozen=True, slots=True)
class Form:
    """A form of request bodies, a column of the table.

    Attributes:
        title: title of the column.
        paths: paths that take it.
        clients: clients that send it, in English and in Chinese.
    """

    title: str
    paths: tuple[str, ...]
    clients: tuple[str, str]


_UNION = "Cohere v1, Cohere v2, Jina, vLLM, Xinference, llama.cpp, SiliconFlow, LocalAI, GPUStack, Pinecone"
FORMS_OF_CLIENTS: dict[RequestForm, Form] = {
    "union": Form("union", UNION_PATHS, (_UNION, _UNION)),
    "infinity": Form("Infinity", INFINITY_PATHS, ("Infinity, litellm `infinity/`", "Infinity、litellm `infinity/`")),
    "voyage": Form("Voyage", VOYAGE_PATHS, ("Voyage", "Voyage")),
    "tei": Form(
        "TEI",
        (*TEI_PATHS, *UNION_PATHS),
        ("text-embeddings-inference: a body with `texts`", "text-embeddings-inference：带 `texts` 的请求体"),
    ),
    "score": Form("score", SCORE_PATHS, ("vLLM", "vLLM")),
    "predict": Form("predict", PREDICT_PATHS, ("text-embeddings-inference", "text-embeddings-inference")),
}

_WORDS = {
    "en": {"honoured": "honoured", "warned": "warned", "refused": "refused", "other": "other form"},
    "zh": {"honoured": "生效", "warned": "警告", "refused": "拒绝", "other": "另一种格式"},
}
_CHINESE = {"all": "全部", "others": "其他"}
_FORM_HEAD = {"en": ("form", "paths", "clients"), "zh": ("格式", "路径", "客户端")}
_FIELD_HEAD = {"en": ("field", "sent by"), "zh": ("字段", "谁发送")}


def forms_table(language: str) -> str:
    """Return the table of forms; `language` is `en` or `zh`."""
    column = ("en", "zh").index(language)
    rows = [
        (form.title, " ".join(f"`{path}`" for path in form.paths), form.clients[column])
        for form in FORMS_OF_CLIENTS.values()
    ]
    return _table(_FORM_HEAD[language], rows)


def fields_table(language: str) -> str:
    """Return the table of fields; `language` is `en` or `zh`."""
    titles = (FORMS_OF_CLIENTS[form].title for form in FORMS)
    return _table((*_FIELD_HEAD[language], *titles), [_row(field, language) for field in FIELDS.values()])


def _row(field: FieldSupport, language: str) -> tuple[str, ...]:
    words = _WORDS[language]
    by = field.sent_by or "rerankd"
    if language == "zh":
        by = _CHINESE.get(by, by.replace(", ", "、"))
    cells = [words["other" if form in field.another else field.support(form)] for form in FORMS]
    return (f"`{field.name}`", by, *cells)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))
