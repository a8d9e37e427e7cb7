"""`rerankd search` and `rerankd ask`: retrieve passages of an index, answer with citations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from rerankd._common.plural import counted
from rerankd.async_reranker import AsyncReranker
from rerankd.cli import options
from rerankd.cli.output import cell, movement, say, stderr, stdout, wants_json, write_rows
from rerankd.settings import Settings, load_settings
from rerankd.types import RerankRequest, RerankResult

if TYPE_CHECKING:
    from rerankd.retrieval.answer import Answer, Passage, SearchResult
    from rerankd.retrieval.rag import Rag
    from rerankd.retrieval.selection import SearchOptions

Question = Annotated[str, typer.Argument(help="The question.")]
K = Annotated[
    int | None, typer.Option("--k", min=1, max=1000, help="Documents retrieved by the first stage.  [default: 50]")
]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Lowest score of a passage to keep.  [default: 0.15]")
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show every candidate before and after, and why it was dropped.")
]


@options.setting_flags("top_n", "model", "instruction", "rules")
def search(
    question: Question,
    folder: options.Index = None,
    k: K = None,
    threshold: Threshold = None,
    explain: Explain = False,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Find the passages of the index that answer QUESTION."""
    settings = load_settings(index=folder, search_k=k, search_threshold=threshold, **flags)
    result = asyncio.run(_search(question, settings))
    if wants_json(as_json):
        from rerankd.retrieval.serialization import search_response

        write_rows([search_response(result, explain=explain)])
        return
    _print_passages(result, explain)


@options.setting_flags("top_n", "model", "instruction", "rules", "llm_url", "llm_model")
def ask(
    question: Question,
    folder: options.Index = None,
    k: K = None,
    threshold: Threshold = None,
    explain: Explain = False,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Answer QUESTION from the index with citations; without a language model, show the passages."""
    settings = load_settings(index=folder, search_k=k, search_threshold=threshold, **flags)
    streamed = not wants_json(as_json)
    answer = asyncio.run(_ask(question, settings, streamed, explain))
    if not streamed:
        from rerankd.retrieval.serialization import ask_response

        write_rows([ask_response(answer, explain=explain)])
    if answer.error is not None:
        raise answer.error


async def _search(question: str, settings: Settings) -> SearchResult:
    async with _opened(settings, chat=False) as (rag, search_options):
        return await rag.search(question, search_options)


async def _ask(question: str, settings: Settings, shown: bool, explain: bool) -> Answer:
    from rerankd.retrieval.answer import Answer, AnswerDelta, SearchResult

    async with _opened(settings, chat=True) as (rag, search_options):
        async for part in rag.ask(question, search_options):
            if isinstance(part, Answer):
                if shown:
                    _print_answer(part, settings)
                return part
            if shown and isinstance(part, SearchResult) and explain:
                _print_passages(part, explain)
            if shown and isinstance(part, AnswerDelta):
                stdout().print(part.text, end="", markup=False, highlight=False, soft_wrap=True)
    raise AssertionError("unreachable")


@asynccontextmanager
async def _opened(settings: Settings, *, chat: bool) -> AsyncIterator[tuple[Rag, SearchOptions]]:
    """Open retriever, reranker and language model as the settings describe them."""
    from rerankd.retrieval.rag import Rag
    from rerankd.retrieval.selection import SearchOptions
    from rerankd.wiring.retrieval import open_chat, open_retriever, open_token_offsets

    retriever = open_retriever(settings)
    async with AsyncReranker(options.open_reranker(settings)) as reranker:

        async def rank(request: RerankRequest) -> RerankResult:
            return await reranker.rank(
                request.query,
                request.documents,
                None,
                activation="sigmoid",
                fusion=settings.fusion,
                fusion_weight=settings.fusion_weight,
                instruction=request.truncation.instruction,
            )

        async def score(groups: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
            rows = [
                await reranker.score([(query, text) for text in texts], activation="sigmoid") for query, texts in groups
            ]
            return [row.tolist() for row in rows]

        rag = Rag(
            retriever,
            rank,
            open_token_offsets(settings),
            open_chat(settings) if chat else None,
            reranker.reranker.rules.expand_query,
            score,
            settings.answer_threshold,
        )
        search_options = SearchOptions(
            settings.search_k, settings.top_n, settings.search_threshold, settings.search_tokens
        )
        try:
            yield rag, search_options
        finally:
            await rag.close()


def _print_passages(result: SearchResult, explain: bool) -> None:
    from rerankd.retrieval.prompt import NO_ANSWER
    from rerankd.rules.rule_set import language_of

    rows = [*result.passages, *(result.dropped if explain else ())]
    if not result.passages:
        say(NO_ANSWER[language_of(result.query)])
    if rows:
        table = Table(
            "",
            "before",
            "score",
            *(["dropped because", "rules"] if explain else []),
            "passage",
            title=cell(result.expanded_query),
        )
        for passage in rows:
            table.add_row(*_cells(passage, explain))
        stdout().print(table)
    timings = ", ".join(f"{name} {value:.0f} ms" for name, value in result.timings.items())
    total = len(result.passages) + len(result.dropped)
    stderr().print(
        f"{counted(total, 'candidate')}, {len(result.passages)} kept; {timings}", style="dim", highlight=False
    )


def _cells(passage: Passage, explain: bool) -> list[str | Text]:
    from rerankd.retrieval.answer import source_label

    ranked = passage.ranked
    reason = f"{passage.dropped} of {passage.duplicate_of}" if passage.duplicate_of else passage.dropped
    rules = ", ".join(f"{rule.rule} ({rule.action} {rule.weight:+g})" for rule in ranked.rules)
    return [
        str(passage.number or ""),
        movement(ranked.rank_before, ranked.rank_after),
        f"{ranked.relevance_score:.3f}",
        *((reason, cell(rules, 60)) if explain else ()),
        cell(f"{source_label(ranked.document)}\n{ranked.document.text}", 400),
    ]


def _print_answer(answer: Answer, settings: Settings) -> None:
    from rerankd.retrieval.answer import source_label

    if answer.refusal:
        stdout().print(answer.refusal, markup=False, highlight=False)
        return
    if answer.text is not None:
        stdout().print()
    passages = answer.search.passages
    for passage in passages:
        if settings.llm_url and answer.error is None and passage.number not in (*answer.citations, *answer.attributed):
            continue
        stdout().print(
            f"\n[{passage.number}] {source_label(passage.ranked.document)}{_matched(answer, passage.number)}",
            markup=False,
            highlight=False,
            style="bold",
        )
        if not settings.llm_url or answer.error is not None:
            stdout().print(passage.ranked.document.text, markup=False, highlight=False, soft_wrap=True)
    if answer.invalid_citations:
        numbers = ", ".join(map(str, answer.invalid_citations))
        say(f"The language model cited {numbers}, which it was not given; these citations were removed.")
    if answer.unsupported:
        say("No passage supports:")
        for sentence in answer.unsupported:
            say(f"- {' '.join(sentence.split())}")
    elif settings.llm_url and answer.error is None and not (answer.citations or answer.attributed):
        say("The answer cites no passage: it is not supported by the index.")


def _matched(answer: Answer, number: int) -> str:
    """Return the sentences that a passage was matched to without a citation; empty for none."""
    sentences = [" ".join(each.text.split()) for each in answer.sentences if number in each.attributed]
    return f"\nmatched to: {' … '.join(sentences)}" if sentences else ""
