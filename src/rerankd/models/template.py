"""Templates that join a query and a document into one sequence: special tokens around them, or a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rerankd.errors import CorruptModelError


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """Special token ids around the query and the document: `start query middle document end`.

    Example:
        >>> PairTemplate((0,), (2, 2), (2,)).special
        4
    """

    start: tuple[int, ...]
    middle: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def takes_instruction(self) -> bool:
        """True if the sequence has a place for an instruction."""
        return False

    @property
    def special(self) -> int:
        """Number of special tokens in a pair."""
        return len(self.start) + len(self.middle) + len(self.end)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """Texts around the query and the document: `before query between document after`.

    Each text is a tuple of its parts; the instruction stands between the parts.

    Attributes:
        before: text before the query.
        between: text between the query and the document.
        after: text after the document; the model answers behind it.
        instruction: instruction of requests without one of their own; None if their prompt is `plain`.
        plain: the three texts of a prompt without an instruction; None if every prompt has one, or no prompt.
        joined: True if a query and a document are tokenized together with the text behind them, as a chat template is;
            False if the text behind them is tokenized by itself.
        strip: True if spaces and line ends around the query and the document are removed.

    Example:
        >>> template = PromptTemplate(("Task: ", " Query: "), (" Document: ",), (" Answer:",), "search")
        >>> template.texts("find")
        ('Task: find Query: ', ' Document: ', ' Answer:')
        >>> template.texts(None)[0]
        'Task: search Query: '
    """

    before: tuple[str, ...]
    between: tuple[str, ...]
    after: tuple[str, ...]
    instruction: str | None = None
    plain: tuple[str, str, str] | None = None
    joined: bool = True
    strip: bool = False

    @property
    def takes_instruction(self) -> bool:
        """True if the prompt has a place for an instruction."""
        return any(len(parts) > 1 for parts in (self.before, self.between, self.after))

    def texts(self, instruction: str | None) -> tuple[str, str, str]:
        """Return the texts before the query, between query and document, and after the document.

        Args:
            instruction: what counts as relevant; None for the template's default.
        """
        if instruction is None and self.instruction is None and self.plain is not None:
            return self.plain
        told = (self.instruction or "") if instruction is None else instruction
        before, between, after = (told.join(parts) for parts in (self.before, self.between, self.after))
        return before, between, after


Template = PairTemplate | PromptTemplate


def as_pair_template(template: Template) -> PairTemplate:
    """Return a template that has special tokens.

    Raises:
        TypeError: it is a prompt.
    """
    if isinstance(template, PairTemplate):
        return template
    raise TypeError("a prompt has no special tokens of its own")


def read_template(content: Mapping[str, Any]) -> Template:
    """Return the template that a manifest stores.

    Args:
        content: the fields of the template, with lists for tuples.

    Raises:
        TypeError: a field is missing, unknown, or of another type.

    Example:
        >>> read_template({"start": [0], "middle": [2, 2], "end": [2]})
        PairTemplate(start=(0,), middle=(2, 2), end=(2,))
    """
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    if "before" not in fields:
        return PairTemplate(**fields)
    texts = [fields.get(name) for name in ("before", "between", "after")]
    texts.append(fields.get("plain") or ("",))
    if not all(isinstance(parts, tuple) and all(isinstance(part, str) for part in parts) for parts in texts):
        raise TypeError("a text of the template is not a list of strings")
    return PromptTemplate(**fields)


def special_token_template(
    family: str,
    tokens: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]],
    token_to_id: Callable[[str], int | None],
) -> PairTemplate:
    """Look up the special tokens of a model family in a tokenizer.

    Args:
        family: name of the family, for the error message.
        tokens: tokens in front of the query, between query and document, and after the document.
        token_to_id: function that looks up a token.

    Raises:
        CorruptModelError: the tokenizer lacks one of them; it belongs to another model.
    """

    def ids(names: tuple[str, ...]) -> tuple[int, ...]:
        token_ids = [token_to_id(name) for name in names]
        if None in token_ids:
            raise CorruptModelError(
                f"The tokenizer has no token {names[token_ids.index(None)]!r}, which {family} models need.",
                hint="Use tokenizer.json from the same repository as the weights.",
            )
        return tuple(token_id for token_id in token_ids if token_id is not None)

    start, middle, end = tokens
    return PairTemplate(ids(start), ids(middle), ids(end))
