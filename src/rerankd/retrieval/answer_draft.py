"""An answer that is being generated: without the model's thinking, its citations checked."""

from __future__ import annotations

from rerankd.retrieval.chat import ChatError
from rerankd.retrieval.citations import CitationFilter
from rerankd.retrieval.thinking import ThinkingFilter


class AnswerDraft:
    """The text of an answer as it streams in.

    Args:
        passages: number of passages that the answer may cite.

    Attributes:
        citations: the citations of the answer so far.

    Example:
        >>> draft = AnswerDraft(1)
        >>> draft.feed("<think>hm</think>Bamboo [1, 2].") + draft.flush(), draft.citations.invalid
        ('Bamboo [1].', [2])
    """

    def __init__(self, passages: int) -> None:
        self._passages = passages
        self._thinking, self.citations = ThinkingFilter(), CitationFilter(passages)
        self._texts: list[str] = []

    def feed(self, delta: str) -> str:
        """Take what the language model wrote next; return what can be shown."""
        return self._checked(self._thinking.feed(delta), last=False)

    def flush(self) -> str:
        """Return what was held back, at the end of the answer."""
        return self._checked(self._thinking.flush(), last=True)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._texts).strip()

    @property
    def error(self) -> ChatError | None:
        """Error of an answer that was thinking and nothing else; None if there is a text, or was no thinking."""
        if self.text or not self._thinking.hidden:
            return None
        return ChatError(
            "The language model only thought and gave no answer.", hint="Raise llm_max_tokens, or ask another model."
        )

    def _checked(self, text: str, *, last: bool) -> str:
        if self._thinking.restarted:
            self._texts, self.citations = [], CitationFilter(self._passages)
        shown = self.citations.feed(text) + (self.citations.flush() if last else "")
        if not self._texts:
            shown = shown.lstrip()  # models put empty lines behind their thinking
        if shown:
            self._texts.append(shown)
        return shown
