"""Rules: the requests and documents that each applies to, and its effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rerankd.rules.pattern import Pattern

Action = Literal["boost", "bury", "pin", "filter", "synonyms"]
Language = Literal["zh", "en"]
DEFAULT_MAX_SHIFT = 2.0


@dataclass(frozen=True, slots=True)
class When:
    """Conditions on the request. An empty condition matches every request; all others must match.

    Attributes:
        terms: terms of which the query must contain one.
        regex: regular expression that must match somewhere in the query.
        language: language of the query.
        tenants: ids of the API keys that the rule applies to.
    """

    terms: frozenset[str] = frozenset()
    regex: Pattern | None = None
    language: Language | None = None
    tenants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Which:
    """Conditions on the document. An empty condition matches every document; all others must match.

    Attributes:
        terms: terms with their weights; the document must contain at least one.
        metadata: accepted values of each metadata field.
        sources: shell patterns; the metadata field `source` must match one.
        older_than: lowest age of the document in seconds.
        newer_than: highest age of the document in seconds.
    """

    terms: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, frozenset[Any]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    older_than: float | None = None
    newer_than: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: name in results and traces.
        line: line of the file at which it begins.
        when: requests that it applies to.
        which: documents that it acts on.
        action: effect on the documents, or on the query for `synonyms`.
        weight: for `boost` and `bury`, the logits by which a document moves, multiplied by the weights of its terms.
        position: for `pin`, the position of the document in the result, from 1.
        synonyms: words that are added to the query, by the word that it contains.
    """

    name: str
    line: int
    when: When
    which: Which
    action: Action
    weight: float = 0.0
    position: int = 0
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
