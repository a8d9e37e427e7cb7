"""What a rule is: when it applies, to which documents, and what it does to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Action = Literal["boost", "bury", "pin", "filter", "synonyms"]
Language = Literal["zh", "en"]
DEFAULT_MAX_SHIFT = 2.0


@dataclass(frozen=True, slots=True)
class When:
    """Requests that a rule applies to; what is not given matches all, and everything given has to match.

    Attributes:
        terms: one of them stands in the query.
        regex: is found in the query.
        language: of the query.
        tenants: ids of API keys.
    """

    terms: frozenset[str] = frozenset()
    regex: re.Pattern[str] | None = None
    language: Language | None = None
    tenants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Which:
    """Documents that a rule acts on; what is not given matches all, and everything given has to match.

    Attributes:
        terms: weights of terms; the document has one of them at least.
        metadata: values that a field may have.
        sources: shell patterns, one of which the metadata field `source` matches.
        older_than: seconds that the document's date lies back at least.
        newer_than: and at most.
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
        name: what results and traces call it.
        line: where it begins in its file.
        when: requests that it applies to.
        which: documents that it acts on.
        action: what it does.
        weight: of `boost` and `bury`: logits that a document moves, times the weights of the terms that it has.
        place: of `pin`: the place where the document goes, from 1.
        synonyms: words of one meaning, by the word that stands in the query.
    """

    name: str
    line: int
    when: When
    which: Which
    action: Action
    weight: float = 0.0
    place: int = 0
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
