"""The rules of a file, applied to a request: synonyms of the query, and the effect on each document. Pure."""

from __future__ import annotations

import datetime
import fnmatch
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rerankd._common.text import normalized
from rerankd.rules.rule import DEFAULT_MAX_SHIFT, Language, Rule, When
from rerankd.rules.terms import GrowthLimit, TermIndex
from rerankd.types import Adjustment, Document, MatchedRule

REGEX_CHARACTERS = 2000
MAX_SYNONYMS = 8
MAX_VALUE_CHARACTERS = 10_000
_NONE = Adjustment()
_SIGNS = {"boost": 1.0, "bury": -1.0}


class RuleSet:
    """The rules of one file. Thread-safe.

    Args:
        rules: rules in the order of the file.
        version: hash of the file's content.
        max_shift: logits by which all rules together may move one document, up or down.
        date_field: metadata field with the date of a document, ISO 8601 or seconds since 1970.

    Example:
        >>> from rerankd.rules.rule import Which
        >>> rule = Rule("vat", 1, When(), Which({"vat": 1.0}), "boost", 0.5)
        >>> [adjustment] = RuleSet([rule]).adjustments("tax", [Document("VAT is due.")])
        >>> adjustment.boost, adjustment.matched_rules[0].rule
        (0.5, 'vat')
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        version: str = "",
        *,
        max_shift: float = DEFAULT_MAX_SHIFT,
        date_field: str = "date",
    ) -> None:
        self.rules, self.version, self.max_shift, self.date_field = tuple(rules), version, max_shift, date_field
        self._query_terms = TermIndex(
            term for rule in self.rules for terms in (rule.when.terms, rule.synonyms) for term in terms
        )
        self._document_rules = tuple(rule for rule in self.rules if rule.action != "synonyms")
        self._synonym_rules = tuple(rule for rule in self.rules if rule.action == "synonyms")
        self._document_terms = TermIndex(term for rule in self._document_rules for term in rule.which.terms)
        # So that of ten thousand rules only those are examined of which a term occurs, or which have no terms.
        self._unconditional = frozenset(i for i, rule in enumerate(self._document_rules) if rule.when == When())
        self._without_query_terms = tuple(
            i for i, rule in enumerate(self._document_rules) if rule.when != When() and not rule.when.terms
        )
        self._by_query_term = _rules_by_term((i, rule.when.terms) for i, rule in enumerate(self._document_rules))
        self._by_document_term = _rules_by_term((i, rule.which.terms) for i, rule in enumerate(self._document_rules))
        self._without_document_terms = tuple(i for i, rule in enumerate(self._document_rules) if not rule.which.terms)

    def __len__(self) -> int:
        return len(self.rules)

    def expand_query(self, query: str, tenant: str = "") -> str:
        """Return the query followed by the synonyms of its words in brackets, or the query if there are none.

        Args:
            query: the query.
            tenant: id of the API key of the request.

        Example:
            >>> from rerankd.rules.rule import Which
            >>> rule = Rule("phones", 1, When(), Which(), "synonyms", synonyms={"手机": ("phone",)})
            >>> RuleSet([rule]).expand_query("手机保修")
            '手机保修 (phone)'
        """
        if not self._synonym_rules:
            return query
        synonyms, present = [], self._query_terms.matches(query)
        folded, language = normalized(query), functools.cache(lambda: language_of(query))
        for rule in self._synonym_rules:
            if _applies(rule.when, query, present, tenant, language):
                words = [word for term, others in rule.synonyms.items() if term in present for word in others]
                synonyms += [word for word in words if normalized(word) not in folded]
        unique = list(dict.fromkeys(synonyms))[:MAX_SYNONYMS]
        return f"{query} ({', '.join(unique)})" if unique else query

    def adjustments(
        self, query: str, documents: Sequence[Document], tenant: str = "", now: float | None = None
    ) -> list[Adjustment]:
        """Return the effect of the rules on each document.

        Args:
            query: the query of the request, without synonyms.
            documents: the candidates.
            tenant: id of the API key of the request.
            now: time from which ages are counted, in seconds since 1970; None for the current time.

        Returns:
            One adjustment for each document.
        """
        growth = GrowthLimit()
        present = self._query_terms.matches(query, growth)
        possible = {i for term in present for i in self._by_query_term.get(term, ())}.union(self._without_query_terms)
        language = functools.cache(lambda: language_of(query))
        live = {
            i for i in possible if _applies(self._document_rules[i].when, query, present, tenant, language)
        } | self._unconditional
        if not live:
            return [_NONE] * len(documents)
        moment = datetime.datetime.now(datetime.UTC).timestamp() if now is None else now
        everywhere = [i for i in self._without_document_terms if i in live]
        adjustments = []
        for document in documents:
            terms = self._document_terms.matches(document.text, growth)
            numbers = {i for term in terms for i in self._by_document_term.get(term, ()) if i in live}
            rules = [self._document_rules[i] for i in sorted(numbers.union(everywhere))]
            adjustments.append(self._adjustment(rules, document, terms, moment) if rules else _NONE)
        return adjustments

    def _adjustment(self, rules: Sequence[Rule], document: Document, terms: set[str], now: float) -> Adjustment:
        boost, pin_to, filtered = 0.0, 0, False
        matched: list[MatchedRule] = []
        for rule in rules:
            weight = self._weight(rule, document, terms, now)
            if weight is None:
                continue
            moved = _SIGNS.get(rule.action, 0.0) * rule.weight * weight
            boost += moved
            if rule.action == "pin":
                pin_to = min(pin_to or rule.position, rule.position)
            filtered = filtered or rule.action == "filter"
            matched.append(MatchedRule(rule.name, rule.action, float(rule.position) if rule.action == "pin" else moved))
        bounded = max(-self.max_shift, min(self.max_shift, boost))
        return Adjustment(bounded, pin_to, filtered, tuple(matched)) if matched else _NONE

    def _weight(self, rule: Rule, document: Document, present: set[str], now: float) -> float | None:
        """Return the sum of the weights of matching terms, 1 without terms; None if the rule does not match."""
        which, metadata = rule.which, document.metadata or {}
        weight = 1.0
        if which.terms:
            shared = present & which.terms.keys() if len(which.terms) > 1 else present.intersection(which.terms)
            if not shared:
                return None
            weight = sum(which.terms[term] for term in sorted(shared))
        if which.metadata and not all(_has_value(metadata, name, values) for name, values in which.metadata.items()):
            return None
        if which.sources and not _has_source(metadata, which.sources):
            return None
        if which.older_than is not None or which.newer_than is not None:
            age = now - _timestamp(metadata.get(self.date_field))
            if math.isnan(age):
                return None
            if (which.older_than is not None and age < which.older_than) or (
                which.newer_than is not None and age > which.newer_than
            ):
                return None
        return weight


def _rules_by_term(terms: Iterable[tuple[int, Iterable[str]]]) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the rules that name each term."""
    by_term: dict[str, list[int]] = {}
    for number, rule_terms in terms:
        for term in rule_terms:
            by_term.setdefault(term, []).append(number)
    return {term: tuple(numbers) for term, numbers in by_term.items()}


def _applies(when: When, query: str, present: set[str], tenant: str, language: Callable[[], Language]) -> bool:
    if when.terms and not when.terms & present:
        return False
    if when.tenants and tenant not in when.tenants:
        return False
    if when.language is not None and language() != when.language:
        return False
    return when.regex is None or when.regex.search(query[:REGEX_CHARACTERS])


def language_of(text: str) -> Language:
    """Return `zh` if at least a fifth of the letters are Han characters, else `en`.

    Example:
        >>> language_of("iPhone 16 保修期多久"), language_of("what does 保修 mean?")
        ('zh', 'en')
    """
    letters = [char for char in text if char.isalpha()]
    han = sum("\u3400" <= char <= "\u9fff" for char in letters)
    return "zh" if letters and han >= 0.2 * len(letters) else "en"


def _has_value(metadata: Mapping[str, Any], name: str, values: frozenset[Any]) -> bool:
    value = metadata.get(name)
    items = value if isinstance(value, list | tuple) else [value] if name in metadata else []
    return any(comparable(item) in values for item in items if not _is_long(item))


def _is_long(value: Any) -> bool:
    """Return True for a text that no rule can name, so that it need not be normalised."""
    return isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS


def comparable(value: Any) -> Any:
    """Return a metadata value in the form in which rules compare it: texts case folded, numbers and booleans as is.

    Example:
        >>> comparable("Draft"), comparable(3)
        ('draft', 3)
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    return normalized(str(value))


def _has_source(metadata: Mapping[str, Any], patterns: Sequence[str]) -> bool:
    source = metadata.get("source")
    return (
        isinstance(source, str)
        and not _is_long(source)
        and any(fnmatch.fnmatchcase(normalized(source), normalized(pattern)) for pattern in patterns)
    )


def _timestamp(value: Any) -> float:
    """Return a date in seconds since 1970; NaN for anything else. Dates without a time zone are UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = value.isoformat()
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            return math.nan
    if not isinstance(value, datetime.datetime):
        return math.nan
    return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
