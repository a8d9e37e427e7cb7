"""The tools of the MCP server: their arguments, their results, and the requests that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rerankd.errors import InvalidRequestError
from rerankd.mcp.passages import passage_uri
from rerankd.types import MAX_INSTRUCTION

MAX_DOCUMENTS = 1000
MAX_CHARACTERS = 200_000
MAX_PASSAGES = 100

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Query = Annotated[str, Field(min_length=1, max_length=20_000, description="The query or question.")]
Threshold = Annotated[float | None, Field(ge=0, le=1, description="Lowest relevance score to keep, 0 to 1.")]
Model = Annotated[str | None, Field(max_length=512, description="Name of the model; leave out for the default one.")]
Instruction = Annotated[
    str | None,
    Field(max_length=MAX_INSTRUCTION, description="What counts as relevant, for models that read an instruction."),
]
Content = Mapping[str, Any]
ArgumentsT = TypeVar("ArgumentsT", bound=BaseModel)


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), hide_input_in_errors=True)

    query: Query


class RerankArguments(_Arguments):
    """Arguments of `rerank`."""

    documents: list[Text] = Field(
        min_length=1, max_length=MAX_DOCUMENTS, description="The texts to order by relevance to the query."
    )
    top_n: int | None = Field(None, ge=1, le=MAX_DOCUMENTS, description="Number of documents to return; all if absent.")
    threshold: Threshold = None
    model: Model = None
    instruction: Instruction = None


class SearchArguments(_Arguments):
    """Arguments of `search`."""

    top_n: int | None = Field(None, ge=1, le=MAX_PASSAGES, description="Largest number of passages.")
    threshold: Threshold = None
    max_tokens: int | None = Field(None, ge=16, le=1_000_000, description="Token budget of all passages together.")
    model: Model = None
    instruction: Instruction = None


class AskArguments(SearchArguments):
    """Arguments of `ask`."""


class RankedDocument(BaseModel):
    """One document of `rerank`."""

    index: int = Field(description="Position in the documents of the request, from 0.")
    relevance_score: float
    text: str


class RerankOutput(BaseModel):
    """Result of `rerank`: documents, the most relevant first."""

    results: list[RankedDocument]
    model: str
    request_id: str
    warnings: list[str] = []


class FoundPassage(BaseModel):
    """One passage of `search` and `ask`."""

    number: int | None = Field(description="Number by which the answer cites it.")
    id: str
    uri: str = Field(description="Address of the passage, to read it as a resource.")
    source: str
    relevance_score: float
    text: str


class SearchOutput(BaseModel):
    """Result of `search`: passages, the most relevant first."""

    passages: list[FoundPassage]
    model: str
    request_id: str
    warnings: list[str] = []


class AskOutput(SearchOutput):
    """Result of `ask`: an answer with citations such as [1], and the passages that it may cite."""

    answer: str | None = Field(description="The answer; null without a language model, or where it refuses.")
    citations: list[int] = Field(description="Numbers of the passages that the answer cites.")
    unsupported: list[str] = Field([], description="Sentences of the answer that no passage supports.")
    grounded: bool | None = Field(None, description="True if the answer stands on passages.")
    refusal: str | None = None
    error: str | None = Field(None, description="Failure of the language model; the passages are valid all the same.")


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool.

    Attributes:
        name: its name.
        title: name for people.
        description: description for models.
        path: path of the service that it calls.
        arguments: model of the arguments.
        output: model of the structured result.
        read: turns the service's response, and the arguments, into the result.
    """

    name: str
    title: str
    description: str
    path: str
    arguments: type[_Arguments]
    output: type[BaseModel]
    read: Callable[[Content], BaseModel]

    def body(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body of the request that a call stands for.

        Raises:
            InvalidRequestError: an argument is missing, unknown or out of bounds; the message names it.
        """
        try:
            content = self.arguments.model_validate(dict(arguments)).model_dump(exclude_none=True)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
            field = ".".join(map(str, fault["loc"]))[:200] or "The arguments"
            raise InvalidRequestError(f"{field}: {fault['msg']}.", hint=f"See the schema of {self.name}.") from None
        return content | ({"return_documents": True} if "documents" in content else {})


def _read_ranking(content: Content) -> RerankOutput:
    results = [
        RankedDocument(index=row["index"], relevance_score=row["relevance_score"], text=row["document"]["text"])
        for row in content["results"]
    ]
    return RerankOutput(results=results, model=content["model"], request_id=content["id"], warnings=_warnings(content))


def _read_search(content: Content) -> SearchOutput:
    return SearchOutput(**_found(content))


def _read_answer(content: Content) -> AskOutput:
    return AskOutput(
        **_found(content),
        answer=content["answer"],
        citations=content["citations"],
        unsupported=content.get("unsupported") or [],
        grounded=content.get("grounded"),
        refusal=content.get("refusal"),
        error=(content.get("error") or {}).get("message"),
    )


def _found(content: Content) -> dict[str, Any]:
    names = ("number", "source", "relevance_score", "text")
    passages = [
        FoundPassage(id=str(row["id"]), uri=passage_uri(str(row["id"])), **{name: row[name] for name in names})
        for row in content["passages"]
    ]
    return {
        "passages": passages,
        "model": content["model"],
        "request_id": content["request_id"],
        "warnings": _warnings(content),
    }


def _warnings(content: Content) -> list[str]:
    return list((content.get("meta") or {}).get("warnings", ()))


TOOLS = {
    tool.name: tool
    for tool in (
        ToolSpec(
            "rerank",
            "Rerank documents",
            "Order documents by relevance to a query with a cross-encoder, and score each from 0 to 1. Use it to "
            "choose the best of many candidates before reading them.",
            "/v1/rerank",
            RerankArguments,
            RerankOutput,
            _read_ranking,
        ),
        ToolSpec(
            "search",
            "Search the index",
            "Find the passages of the indexed documents that answer a question, the most relevant first. No passage "
            "means that the index has no answer.",
            "/v1/search",
            SearchArguments,
            SearchOutput,
            _read_search,
        ),
        ToolSpec(
            "ask",
            "Ask the index",
            "Answer a question from the indexed documents, with numbered citations. Without a language model the "
            "passages come back alone.",
            "/v1/ask",
            AskArguments,
            AskOutput,
            _read_answer,
        ),
    )
}
