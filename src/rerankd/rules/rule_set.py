"""Rules applied to a request: which of them fire, and what they do to each candidate. Pure."""

from __future__ import annotations

import datetime
import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rerankd.rules.rule import DEFAULT_MAX_SHIFT, Language, Rule, When
from rerankd.rules.terms import TermIndex, normalized
from rerankd.types import Adjustment, Document, MatchedRule

REGEX_CHARACTERS = 2000
MAX_SYNONYMS = 8
_NONE = Adjustment()
_SIGNS = {"boost": 1.0, "bury": -1.0}


class RuleSet:
    """Rules of one file. Thread-safe.

    Args:
        rules: in the order of the file.
        version: hash of the file's content.
        max_shift: logits by which all rules together may move one document, up or down.
        date_field: metadata field with a document's date, ISO 8601 or seconds since 1970.

    Example:
        >>> from rerankd.rules.rule import Which
        >>> rule = Rule("vat", 1, When(), Which({"vat": 1.0}), "boost", 0.5)
        >>> [found] = RuleSet([rule]).adjustments("tax", [Document("VAT is due.")])
        >>> found.boost, found.matched_rules[0].rule
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
        self._asked = TermIndex(
            term for rule in self.rules for terms in (rule.when.terms, rule.synonyms) for term in terms
        )
        self._acting = tuple(rule for rule in self.rules if rule.action != "synonyms")
        self._expanding = tuple(rule for rule in self.rules if rule.action == "synonyms")
        self._written = TermIndex(term for rule in self._acting for term in rule.which.terms)
        # Of ten thousand rules only those are looked at of which a term is there, or which have none.
        self._always = frozenset(i for i, rule in enumerate(self._acting) if rule.when == When())
        self._sometimes = tuple(i for i, rule in enumerate(self._acting) if rule.when != When() and not rule.when.terms)
        self._by_asked = _places((i, rule.when.terms) for i, rule in enumerate(self._acting))
        self._by_written = _places((i, rule.which.terms) for i, rule in enumerate(self._acting))
        self._open = tuple(i for i, rule in enumerate(self._acting) if not rule.which.terms)

    def __len__(self) -> int:
        return len(self.rules)

    def expanded(self, query: str, tenant: str = "") -> str:
        """A query with the synonyms of its words behind it, in brackets; as it is where there are none.

        Example:
            >>> from rerankd.rules.rule import Which
            >>> rule = Rule("phones", 1, When(), Which(), "synonyms", synonyms={"手机": ("phone",)})
            >>> RuleSet([rule]).expanded("手机保修")
            '手机保修 (phone)'
        """
        if not self._expanding:
            return query
        added, present = [], self._asked.found(query)
        plain = normalized(query)
        for rule in self._expanding:
            if _applies(rule.when, query, present, tenant):
                words = [word for term, own in rule.synonyms.items() if term in present for word in own]
                added += [word for word in words if normalized(word) not in plain]
        unique = list(dict.fromkeys(added))[:MAX_SYNONYMS]
        return f"{query} ({', '.join(unique)})" if unique else query

    def adjustments(
        self, query: str, documents: Sequence[Document], tenant: str = "", now: float | None = None
    ) -> list[Adjustment]:
        """What the rules do to each document.

        Args:
            query: as it was asked, without synonyms.
            documents: candidates.
            tenant: id of the API key that asks.
            now: seconds since 1970, for ages; None for the present.
        """
        present = self._asked.found(query)
        asked = {i for term in present for i in self._by_asked.get(term, ())}.union(self._sometimes)
        live = {i for i in asked if _applies(self._acting[i].when, query, present, tenant)} | self._always
        if not live:
            return [_NONE] * len(documents)
        moment = datetime.datetime.now(datetime.UTC).timestamp() if now is None else now
        everywhere = [i for i in self._open if i in live]
        found = []
        for document in documents:
            written = self._written.found(document.text)
            places = {i for term in written for i in self._by_written.get(term, ()) if i in live}
            rules = [self._acting[i] for i in sorted(places.union(everywhere))]
            found.append(self._adjustment(rules, document, written, moment) if rules else _NONE)
        return found

    def _adjustment(self, rules: Sequence[Rule], document: Document, written: set[str], now: float) -> Adjustment:
        boost, pin_to, filtered = 0.0, 0, False
        matched: list[MatchedRule] = []
        for rule in rules:
            weight = self._weight(rule, document, written, now)
            if weight is None:
                continue
            moved = _SIGNS.get(rule.action, 0.0) * rule.weight * weight
            boost += moved
            if rule.action == "pin":
                pin_to = min(pin_to or rule.place, rule.place)
            filtered = filtered or rule.action == "filter"
            matched.append(MatchedRule(rule.name, rule.action, float(rule.place) if rule.action == "pin" else moved))
        bounded = max(-self.max_shift, min(self.max_shift, boost))
        return Adjustment(bounded, pin_to, filtered, tuple(matched)) if matched else _NONE

    def _weight(self, rule: Rule, document: Document, present: set[str], now: float) -> float | None:
        """The weight of the terms that a document has, 1 where a rule names none; None where it does not match."""
        which, about = rule.which, document.metadata or {}
        weight = 1.0
        if which.terms:
            shared = present & which.terms.keys() if len(which.terms) > 1 else present.intersection(which.terms)
            if not shared:
                return None
            weight = sum(which.terms[term] for term in sorted(shared))
        if which.metadata and not all(_has(about, name, values) for name, values in which.metadata.items()):
            return None
        if which.sources and not _from(about, which.sources):
            return None
        if which.older_than is not None or which.newer_than is not None:
            age = now - _moment(about.get(self.date_field))
            if math.isnan(age):
                return None
            if (which.older_than is not None and age < which.older_than) or (
                which.newer_than is not None and age > which.newer_than
            ):
                return None
        return weight


def _places(terms: Iterable[tuple[int, Iterable[str]]]) -> dict[str, tuple[int, ...]]:
    """Numbers of rules by term."""
    found: dict[str, list[int]] = {}
    for number, own in terms:
        for term in own:
            found.setdefault(term, []).append(number)
    return {term: tuple(numbers) for term, numbers in found.items()}


def _applies(when: When, query: str, present: set[str], tenant: str) -> bool:
    if when.terms and not when.terms & present:
        return False
    if when.tenants and tenant not in when.tenants:
        return False
    if when.language is not None and language_of(query) != when.language:
        return False
    return when.regex is None or when.regex.search(query[:REGEX_CHARACTERS]) is not None


def language_of(text: str) -> Language:
    """`zh` where a fifth of the letters or more are Han, else `en`.

    Example:
        >>> language_of("iPhone 16 保修期多久"), language_of("what does 保修 mean?")
        ('zh', 'en')
    """
    letters = [char for char in text if char.isalpha()]
    han = sum("\u3400" <= char <= "\u9fff" for char in letters)
    return "zh" if letters and han >= 0.2 * len(letters) else "en"


def _has(about: Mapping[str, Any], name: str, values: frozenset[Any]) -> bool:
    value = about.get(name)
    if isinstance(value, list | tuple):
        return any(comparable(one) in values for one in value)
    return name in about and comparable(value) in values


def comparable(value: Any) -> Any:
    """A metadata value as rules compare it: texts without case, numbers and truth values as they are.

    Example:
        >>> comparable("Draft"), comparable(3)
        ('draft', 3)
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    return normalized(str(value))


def _from(about: Mapping[str, Any], patterns: Sequence[str]) -> bool:
    source = about.get("source")
    return isinstance(source, str) and any(fnmatch.fnmatchcase(source.casefold(), p.casefold()) for p in patterns)


def _moment(value: Any) -> float:
    """A date as seconds since 1970; NaN where it is none. Dates without a zone are UTC."""
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
