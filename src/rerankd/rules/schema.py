"""The form of a rule file as pydantic models; their errors are sentences that follow the name of the value."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rerankd._common.plural import counted
from rerankd._common.text import normalized
from rerankd.rules.pattern import Pattern
from rerankd.rules.rule import DEFAULT_MAX_SHIFT, Action, Rule, When, Which
from rerankd.rules.rule_set import MAX_VALUE_CHARACTERS, comparable

MAX_RULES = 10_000
MAX_TEXT_CHARACTERS = 200
MAX_REGEX_CHARACTERS = 1000
MAX_SHIFT = 100.0
MAX_POSITION = 1000
ACTIONS: tuple[Action, ...] = ("boost", "bury", "pin", "filter", "synonyms")
LANGUAGES = ("zh", "en")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_557_600}


def fail(sentence: str, field: str = "") -> NoReturn:
    """Reject a value.

    Args:
        sentence: what is wrong and how to fix it, to follow the name of the value.
        field: field of the value that is at fault; empty for the value itself.

    Raises:
        PydanticCustomError: always.
    """
    raise PydanticCustomError("rule", "{sentence}", {"sentence": sentence, "field": field})


def kind_of(value: Any) -> str:
    """Return the kind of a YAML value in words.

    Example:
        >>> kind_of({}), kind_of(None)
        ('a table', 'empty')
    """
    if value is None:
        return "empty"
    return {dict: "a table", list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")


def _text(limit: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
            fail(f"is {kind_of(value)}, not a text. Put it in quotes.")
        if len(str(value)) > limit:
            fail(f"has {len(str(value))} characters; at most {limit} are allowed.")
        return str(value).strip()

    return check


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SHIFT:
        shown = kind_of(value) if isinstance(value, list | dict) else repr(value)
        fail(f"is {shown}; it must be a number from 0 to {MAX_SHIFT:g}.")
    return float(value)


def _position(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        shown = kind_of(value) if isinstance(value, list | dict) else repr(value)
        fail(f"is {shown}; it must be an integer of at least 1.")
    if not 1 <= value <= MAX_POSITION:
        fail(f"is {value}; it must be from 1 to {MAX_POSITION}.")
    return value


def _true(value: Any) -> bool:
    if value is not True:
        fail("must be true or left out.")
    return True


def _term(value: Any) -> str:
    return normalized(_text(MAX_TEXT_CHARACTERS)(value)).strip() or fail("is not a text.")


def _regex(value: Any) -> Pattern:
    try:
        return Pattern(_text(MAX_REGEX_CHARACTERS)(value))
    except ValueError as error:
        fail(str(error))


def _language(value: Any) -> Any:
    if not isinstance(value, str) or value not in LANGUAGES:
        shown = kind_of(value) if isinstance(value, list | dict) else repr(value)
        fail(f"is {shown}; it must be one of {', '.join(LANGUAGES)}.")
    return value


def _duration(value: Any) -> float:
    """Return an age in seconds; it is written as a number of seconds, or as 12h, 30d, 8w or 1y."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    match = None if isinstance(value, list | dict) else _DURATION.fullmatch(str(value).strip())
    if match is None or float(match[1]) <= 0:
        shown = kind_of(value) if isinstance(value, list | dict) else repr(str(value)[:50])
        fail(f"is {shown}; write an age as 12h, 30d, 8w or 1y.")
    return float(match[1]) * _SECONDS[match[2]]


def _metadata(table: Any) -> dict[str, frozenset[Any]]:
    if not isinstance(table, dict) or not table:
        fail("must be a non-empty table of fields and their accepted values.")
    fields = {}
    for name, value in table.items():
        values = _as_list(value)
        if not values or any(isinstance(item, list | dict) for item in values):
            fail("must be a value or a non-empty list of values.", field=name)
        if any(len(str(item)) > MAX_VALUE_CHARACTERS for item in values):
            fail(f"has more than {MAX_VALUE_CHARACTERS} characters, and matches nothing.", field=name)
        fields[name] = frozenset(map(comparable, values))
    return fields


def _as_list(value: Any) -> list[Any]:
    """Return a list as it is, and any other value as a list of one."""
    return value if isinstance(value, list) else [value]


def _list_or_table(value: Any) -> str:
    return "<table>" if isinstance(value, dict) else "<list>"


def _not_empty(table: dict[str, Any]) -> dict[str, Any]:
    return table or fail("is empty.")


Text = Annotated[str, PlainValidator(_text(MAX_TEXT_CHARACTERS))]
Term = Annotated[str, PlainValidator(_term)]
Weight = Annotated[float, PlainValidator(_number)]
Duration = Annotated[float, PlainValidator(_duration)]
Terms = Annotated[list[Term], BeforeValidator(_as_list)]
Texts = Annotated[list[Text], BeforeValidator(_as_list)]
WeightedTerms = Annotated[
    Annotated[Terms, Tag("<list>")] | Annotated[dict[str, Weight], BeforeValidator(_not_empty), Tag("<table>")],
    Discriminator(_list_or_table),
]
Synonyms = Annotated[
    Annotated[Texts, Tag("<list>")] | Annotated[dict[str, Texts], Tag("<table>")], Discriminator(_list_or_table)
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class WhenSection(_Section):
    """Requests that a rule applies to."""

    terms: Terms = []
    regex: Annotated[Any, PlainValidator(_regex)] = None
    language: Annotated[Literal["zh", "en"] | None, BeforeValidator(_language)] = None
    tenant: Texts = []

    def build(self) -> When:
        """Return the section as rules use it."""
        return When(frozenset(self.terms), self.regex, self.language, frozenset(self.tenant))


class DocumentsSection(_Section):
    """Documents that a rule acts on."""

    terms: WeightedTerms = []
    metadata: Annotated[dict[str, frozenset[Any]], PlainValidator(_metadata)] = {}
    source: Texts = []
    older_than: Annotated[float | None, PlainValidator(_duration)] = None
    newer_than: Annotated[float | None, PlainValidator(_duration)] = None

    @model_validator(mode="after")
    def _check(self) -> DocumentsSection:
        if not self.model_fields_set:
            fail("is empty. Add terms, metadata, source, older_than or newer_than.")
        return self

    def build(self) -> Which:
        """Return the section as rules use it; terms of a list weigh 1."""
        terms = self.terms if isinstance(self.terms, dict) else dict.fromkeys(self.terms, 1.0)
        return Which(
            {normalized(term).strip(): weight for term, weight in terms.items()},
            self.metadata,
            tuple(self.source),
            self.older_than,
            self.newer_than,
        )


class RuleSection(_Section):
    """One rule."""

    name: Text
    when: WhenSection = WhenSection()
    documents: DocumentsSection | None = None
    boost: Weight = 0.0
    bury: Weight = 0.0
    pin: Annotated[int, PlainValidator(_position)] = 0
    filter: Annotated[bool, PlainValidator(_true)] = False
    synonyms: Synonyms = []

    @model_validator(mode="after")
    def _check(self) -> RuleSection:
        actions = [action for action in ACTIONS if action in self.model_fields_set]
        if len(actions) != 1:
            count = counted(len(actions), "action") if actions else "no actions"
            fail(f"has {count}; give one of {', '.join(ACTIONS)}.")
        if actions == ["synonyms"]:
            if "documents" in self.model_fields_set:
                fail("means nothing here: synonyms act on the query.", field="documents")
            if isinstance(self.synonyms, list) and len(set(map(normalized, self.synonyms))) < 2:
                fail("has fewer than two words.", field="synonyms")
        elif self.documents is None:
            if "documents" in self.model_fields_set:
                fail("is empty. Add terms, metadata, source, older_than or newer_than.", field="documents")
            fail("says nothing about documents. Add 'documents:' with terms, metadata, source or an age.")
        return self

    @property
    def action(self) -> Action:
        """The one action of the rule."""
        return next(action for action in ACTIONS if action in self.model_fields_set)

    def build(self, line: int) -> Rule:
        """Return the rule.

        Args:
            line: line of the file at which it begins.
        """
        which = Which() if self.documents is None else self.documents.build()
        return Rule(
            name=self.name,
            line=line,
            when=self.when.build(),
            which=which,
            action=self.action,
            weight=self.boost or self.bury,
            position=self.pin,
            synonyms=self._expansions(),
        )

    def _expansions(self) -> dict[str, tuple[str, ...]]:
        """Return the words to add, by the word of the query; a list is a table in which each word adds the others."""
        if isinstance(self.synonyms, dict):
            return {normalized(word).strip(): tuple(words) for word, words in self.synonyms.items()}
        words = self.synonyms
        return {normalized(word): tuple(other for other in words if other != word) for word in words}


def _rules(value: Any) -> Any:
    if not isinstance(value, list):
        fail(f"is {kind_of(value)}; it must be a list, each item beginning with '- name: ...'.")
    if len(value) > MAX_RULES:
        fail(f"has {len(value)} items; at most {MAX_RULES} are allowed.")
    return value


class RuleFile(_Section):
    """A whole file of rules."""

    max_shift: Weight = DEFAULT_MAX_SHIFT
    date_field: Text = "date"
    rules: Annotated[list[RuleSection], BeforeValidator(_rules)] = Field()
