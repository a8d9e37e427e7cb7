"""Fields of every dialect that clients send, and what becomes of them: one row each, for the service and its documents.

A field without a row is unknown: a warning names it, as it does a known field that has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

RequestForm = Literal["union", "infinity", "voyage", "tei", "score", "predict"]
"""Form of a request body: the union of Cohere, Jina, vLLM and others, or one of those that no union holds."""
Support = Literal["honoured", "warned", "refused"]

FORMS: Final[tuple[RequestForm, ...]] = ("union", "infinity", "voyage", "tei", "score", "predict")
MAX_NAMED = 10
MAX_NAME = 100
NOTHING: Final[tuple[Any, ...]] = (None, False, "", {}, [], "{}", {"mode": "disabled"})
"""Values with which a field asks for nothing."""
_ON: Final[tuple[Any, ...]] = (None, True, "true", "")
"""The same for a switch that is on by default."""
_RIGHT: Final[tuple[Any, ...]] = (None, "right", "Right", "")
"""The same for a side that is the right one by default."""

_RANKINGS: Final[tuple[RequestForm, ...]] = ("union", "infinity", "voyage")
_EVERYWHERE = FORMS


@dataclass(frozen=True, slots=True)
class FieldSupport:
    """A field that some client sends.

    Attributes:
        name: name of the field.
        sent_by: clients and servers whose field it is; empty for one of ours.
        honoured: forms of bodies in which it has an effect.
        refused: forms in which a value is an error; in the others a warning names it.
        instead: what to send instead, for warnings and errors; empty for nothing.
        nothing: values with which it asks for nothing, or for what happens anyway.
        another: forms that no body with the field has.
    """

    name: str
    sent_by: str = ""
    honoured: tuple[RequestForm, ...] = ()
    refused: tuple[RequestForm, ...] = ()
    instead: str = ""
    nothing: tuple[Any, ...] = NOTHING
    another: tuple[RequestForm, ...] = ()

    def support(self, form: RequestForm) -> Support:
        """Return what becomes of the field in a form.

        Example:
            >>> FIELDS["top_n"].support("union"), FIELDS["top_n"].support("score")
            ('honoured', 'warned')
        """
        if form in self.honoured:
            return "honoured"
        return "refused" if form in self.refused else "warned"

    def asks(self, value: Any) -> bool:
        """Return True for a value that asks for something."""
        return value not in self.nothing

    @property
    def warning(self) -> str:
        """Warning about the field where it has no effect."""
        instead = f" ({self.instead})" if self.instead else ""
        return f"{self.name} is not supported here{instead} and was ignored"


def _rows() -> Iterable[FieldSupport]:
    every, rankings, row = _EVERYWHERE, _RANKINGS, FieldSupport
    texts = "send query and documents"
    yield row("model", "all", every)
    yield row("query", "all", (*rankings, "tei"))
    yield row("documents", "Cohere, Jina, Voyage, vLLM, Infinity, llama.cpp", (*rankings, "score"), another=("tei",))
    yield row("texts", "TEI, llama.cpp", ("tei",))
    yield row("text_1", "vLLM", ("score",))
    yield row("text_2", "vLLM", ("score",))
    yield row("queries", "vLLM", ("score",))
    yield row("items", "vLLM", ("score",))
    yield row("data_1", "vLLM", ("score",))
    yield row("data_2", "vLLM", ("score",))
    yield row("inputs", "TEI", ("predict",))
    yield row("input", "mixedbread, DashScope", refused=every, instead=texts)
    yield row("instances", "Vertex AI", refused=every, instead=texts)
    yield row("text_pairs", "SageMaker", refused=every, instead="send text_1 and text_2 to /score")
    yield row("top_n", "Cohere, Jina, vLLM, Infinity, Xinference", (*rankings, "tei"))
    yield row("top_k", "Voyage, mixedbread", rankings)
    yield row("return_documents", "Cohere, Jina, Voyage, Infinity, Xinference", rankings)
    yield row("return_text", "TEI, llama.cpp", ("tei",))
    yield row("return_input", "mixedbread")
    yield row("return_len", "Xinference")
    yield row("rank_fields", "Cohere v1, Pinecone", rankings)
    yield row("threshold", honoured=rankings)
    yield row("score_threshold", "Dify", rankings)
    yield row("similarity_threshold", "others")
    yield row("relevance_threshold", "others")
    yield row("min_score", "others")
    yield row("raw_scores", "TEI, Infinity", every)
    yield row("use_activation", "vLLM", every, nothing=_ON)
    yield row("activation", "vLLM", instead="send use_activation", nothing=_ON)
    yield row("normalize", "others", instead="send raw_scores", nothing=_ON)
    yield row("instruction", "vLLM, litellm", every)
    yield row("instruct", "DashScope, SGLang", every)
    yield row("chat_template_kwargs", "vLLM", every)
    yield row("kwargs", "Xinference", rankings)
    yield row("max_length", honoured=every)
    yield row("long_documents", honoured=every)
    yield row("max_tokens_per_doc", "Cohere v2, vLLM", rankings)
    yield row("max_tokens_per_query", "vLLM", rankings)
    yield row("max_chunks_per_doc", "Cohere v1, Xinference, SiliconFlow", rankings)
    yield row("overlap_tokens", "SiliconFlow", rankings)
    yield row("truncation", "Voyage", rankings, nothing=_ON)
    yield row("truncation_side", "vLLM", rankings, nothing=_RIGHT)
    yield row("truncate_prompt_tokens", "vLLM", (*rankings, "score"), nothing=(*NOTHING, -1))
    yield row("truncate", "TEI", ("tei", "predict"), nothing=_ON)
    yield row("truncation_direction", "TEI", ("tei", "predict"), nothing=_RIGHT)
    yield row("fusion", honoured=rankings)
    yield row("fusion_weight", honoured=rankings)
    yield row("explain", honoured=("union",))
    yield row("timeout", honoured=every)
    yield row("cache", honoured=every)
    yield row("strict", honoured=every)
    yield row("relevant_spans", "Cohere v2", rankings)
    yield row("priority", "Cohere v2, vLLM", every)
    yield row("user", "vLLM", instead="send the header X-Rerankd-User")
    yield row("request_id", "vLLM", instead="send the header X-Request-Id")
    yield row("cache_salt", "vLLM")
    yield row("mm_processor_kwargs", "vLLM")
    yield row("add_special_tokens", "vLLM", nothing=_ON)
    yield row("parameters", "DashScope, Pinecone")


FIELDS: Final[Mapping[str, FieldSupport]] = {row.name: row for row in _rows()}
"""Every known field, by name, in the order of the documents."""
HONOURED: Final[Mapping[RequestForm, frozenset[str]]] = {
    form: frozenset(row.name for row in FIELDS.values() if form in row.honoured) for form in FORMS
}
_CONDITIONAL: Final = frozenset(
    {"instruct", "chat_template_kwargs", "kwargs", "top_k", "score_threshold", "rank_fields", "truncate_prompt_tokens"}
    | {"queries", "data_1", "text_2", "data_2", "items", "priority", "relevant_spans"}
)
"""Fields whose warnings depend on their value or on the fields beside them; of two that exclude each other, one."""
SILENT: Final[Mapping[RequestForm, frozenset[str]]] = {form: names - _CONDITIONAL for form, names in HONOURED.items()}
"""Fields of which no warning ever comes, so that bodies without others need not be looked at."""
REFUSED: Final[Mapping[RequestForm, frozenset[str]]] = {
    form: frozenset(row.name for row in FIELDS.values() if form in row.refused) for form in FORMS
}


def ignored_fields(fields: Iterable[tuple[str, Any]], form: RequestForm) -> list[str]:
    """Return the names of the fields that ask for something and have no effect.

    Args:
        fields: names and values, as a client sent them.
        form: form of the body.

    Example:
        >>> ignored_fields([("top_n", 3), ("user", None), ("user_id", 7)], "score")
        ['top_n', 'user_id']
    """
    return [name for name, value in fields if name not in HONOURED[form] and _asks(name, value)]


def _asks(name: str, value: Any) -> bool:
    row = FIELDS.get(name)
    return value is not None if row is None else row.asks(value)  # of an unknown field, false may ask for something


def ignored_warnings(names: Iterable[str]) -> list[str]:
    """Return the warnings about fields that have no effect: all known ones, and `MAX_NAMED` that are unknown.

    Example:
        >>> ignored_warnings(["top_n", "user_id"])
        ['top_n is not supported here and was ignored', 'user_id is unknown and was ignored']
    """
    known, unknown = [], []
    for name in names:
        if name in FIELDS:
            known.append(FIELDS[name].warning)
        else:
            unknown.append(f"{shown_name(name)} is unknown and was ignored")
    more = len(unknown) - MAX_NAMED
    return [*known, *unknown[:MAX_NAMED], *([f"{more} more fields are unknown and were ignored"] if more > 0 else [])]


def shown_name(name: str) -> str:
    """Return the name of a field as messages show it; one that is no identifier is quoted.

    Example:
        >>> shown_name("user_id"), shown_name("")
        ('user_id', "''")
    """
    return name[:MAX_NAME] if name.isidentifier() else repr(name[:MAX_NAME])
