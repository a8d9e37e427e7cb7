"""Reading rules from YAML: every fault is said with its line, and nothing unknown is passed over."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError
from rerankd.rules.rule import DEFAULT_MAX_SHIFT, Action, Rule, When, Which
from rerankd.rules.rule_set import RuleSet, comparable
from rerankd.rules.terms import normalized

Value = TypeVar("Value")
MAX_BYTES = 16_000_000
MAX_RULES = 10_000
MAX_TERMS = 200_000
MAX_REGEX = 1000
MAX_SHIFT = 100.0
ACTIONS: tuple[Action, ...] = ("boost", "bury", "pin", "filter", "synonyms")
LANGUAGES = ("zh", "en")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdwy])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_557_600}


class Node:
    """A value of a YAML document that knows its line.

    Args:
        source: the file, for messages.
        value: scalar, or list or dict of nodes.
        line: from 1.
        name: path to it, for messages.
    """

    def __init__(self, source: str, value: Any, line: int, name: str) -> None:
        self.source, self.value, self.line, self.name = source, value, line, name

    def fail(self, what: str) -> NoReturn:
        """Refuse this value.

        Raises:
            InvalidInputFileError: always.
        """
        raise InvalidInputFileError(f"{self.source}, line {self.line}: {self.name or 'the file'} {what}")

    def entries(self, allowed: tuple[str, ...], what: str = "is a table") -> dict[str, Node]:
        """The entries of a table, none of them unknown."""
        if not isinstance(self.value, dict):
            self.fail(f"is {_kind(self.value)}; it {what} with {', '.join(allowed)}.")
        for key, node in self.value.items():
            if key not in allowed:
                node.fail(f"is not known. Known here: {', '.join(allowed)}.")
        return self.value

    def items(self) -> list[Node]:
        """Items of a list; a single value is a list of one."""
        return self.value if isinstance(self.value, list) else [self]

    def text(self, limit: int = 200) -> str:
        """A text that is not empty; numbers are texts too."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
            self.fail(f"is {_kind(value)}, not a text. Put it in quotes.")
        if len(str(value)) > limit:
            self.fail(f"has {len(str(value))} characters; at most {limit} are allowed.")
        return str(value).strip()

    def number(self, low: float, high: float) -> float:
        """A number in a range."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            shown = _kind(value) if isinstance(value, list | dict) else repr(value)
            self.fail(f"is {shown}; it is a number from {low:g} to {high:g}.")
        return float(value)


def read_rules(path: Path) -> RuleSet:
    """Read and check a file of rules.

    Raises:
        InvalidInputFileError: it cannot be read, or something in it is wrong; the message names line and fix.
        MissingDependencyError: the extra `rules` is not installed.

    Example:
        >>> read_rules(Path("rules.yaml")).version  # doctest: +SKIP
        'f1d2d2f924e9'
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputFileError(
            f"{path} cannot be read ({error.strerror or error}).", hint="Check the path."
        ) from error
    if len(content) > MAX_BYTES:
        raise InvalidInputFileError(f"{path} is larger than {MAX_BYTES // 1_000_000} MB.", hint="Split it.")
    return parse_rules(content, str(path))


def parse_rules(content: bytes, source: str = "rules") -> RuleSet:
    """Check rules as they stand in a file.

    Raises:
        InvalidInputFileError: something is wrong; the message names line and fix.
        MissingDependencyError: the extra `rules` is not installed.

    Example:
        >>> rules = parse_rules(b"rules: [{name: a, documents: {terms: [x]}, boost: 1}]")
        >>> rules.rules[0].action
        'boost'
    """
    top = _loaded(content, source).entries(("max_shift", "date_field", "rules"))
    if "rules" not in top:
        raise InvalidInputFileError(f"{source}, line 1: there is no 'rules' list.", hint="Write 'rules:' first.")
    listed = top["rules"].value
    if not isinstance(listed, list):
        top["rules"].fail(f"is {_kind(listed)}; it is a list, each item beginning with '- name: ...'.")
    if len(listed) > MAX_RULES:
        top["rules"].fail(f"has {len(listed)} items; at most {MAX_RULES} are allowed.")
    rules = [_rule(node) for node in listed]
    names: dict[str, int] = {}
    for rule, node in zip(rules, listed, strict=True):
        if rule.name in names:
            node.fail(f"has the name {rule.name!r}, as the one in line {names[rule.name]}. Names are unique.")
        names[rule.name] = rule.line
    count = sum(len(rule.when.terms) + len(rule.which.terms) + len(rule.synonyms) for rule in rules)
    if count > MAX_TERMS:
        top["rules"].fail(f"has {count} terms; at most {MAX_TERMS} are allowed.")
    shift = top["max_shift"].number(0, MAX_SHIFT) if "max_shift" in top else DEFAULT_MAX_SHIFT
    field = top["date_field"].text() if "date_field" in top else "date"
    return RuleSet(rules, hashlib.sha256(content).hexdigest()[:12], max_shift=shift, date_field=field)


def _loaded(content: bytes, source: str) -> Node:
    yaml: Any = require("yaml", "rules", "Reading rules")
    try:
        # libyaml reads ten times as fast, where PyYAML was built with it; both build plain values only.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        tree = yaml.compose(content.decode("utf-8-sig"), Loader=loader)
        return _Reader(yaml, source).node(tree, "") if tree is not None else Node(source, None, 1, "")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidInputFileError(f"{source}, line {line}: not UTF-8.", hint="Save the file as UTF-8.") from error
    except RecursionError as error:
        raise InvalidInputFileError(f"{source} is nested too deeply.", hint="Rules are three levels deep.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if "end of stream" in str(getattr(error, "problem", "")):  # what never ends is to be mended where it begins
            mark = getattr(error, "context_mark", None) or mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error)
        raise InvalidInputFileError(f"{source}{where}: not valid YAML ({what}).", hint="Mend that line.") from error


class _Reader:
    """A composed tree as nodes; what an alias repeats is read once, so that a small file cannot become a large one."""

    def __init__(self, yaml: Any, source: str) -> None:
        self._yaml, self._source, self._loader = yaml, source, yaml.SafeLoader("")
        self._known: dict[int, Node] = {}

    def node(self, tree: Any, name: str) -> Node:
        """The node of a part of the tree."""
        found = self._known.get(id(tree))
        if found is None:
            found = self._known[id(tree)] = self._read(tree, name)
        return found

    def _read(self, tree: Any, name: str) -> Node:
        line = tree.start_mark.line + 1
        if isinstance(tree, self._yaml.MappingNode):
            return Node(self._source, self._entries(tree, name), line, name)
        if isinstance(tree, self._yaml.SequenceNode):
            items = [self.node(item, f"{name}[{place}]") for place, item in enumerate(tree.value, 1)]
            return Node(self._source, items, line, name)
        return Node(self._source, self._loader.construct_object(tree), line, name)

    def _entries(self, tree: Any, name: str) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key, value in tree.value:
            line = key.start_mark.line + 1
            if not isinstance(key, self._yaml.ScalarNode):
                Node(self._source, None, line, name).fail("has a key that is no text.")
            child = self.node(value, f"{name}.{key.value}".lstrip("."))
            entry = Node(self._source, child.value, line, child.name)
            if key.value in entries:
                entry.fail("is given twice.")
            entries[key.value] = entry
        return entries


def _rule(node: Node) -> Rule:
    entries = node.entries(("name", "when", "documents", *ACTIONS))
    if "name" not in entries:
        node.fail("has no name. Write '- name: ...'; results and traces call it by that.")
    name = entries["name"].text()
    node.name = f"rule {name!r}"
    for entry in entries.values():
        entry.name = entry.name.replace(entry.name.split(".")[0], node.name, 1)
    actions: list[Action] = [action for action in ACTIONS if action in entries]
    if len(actions) != 1:
        node.fail(f"has {len(actions) or 'no'} action{'s' * (len(actions) != 1)}; give one of {', '.join(ACTIONS)}.")
    action = actions[0]
    when = _when(entries["when"]) if "when" in entries else When()
    which = _which(entries["documents"]) if "documents" in entries else None
    if action == "synonyms":
        if which is not None:
            entries["documents"].fail("means nothing here: synonyms act on the query.")
        return Rule(name, node.line, when, Which(), action, synonyms=_synonyms(entries[action]))
    if which is None:
        node.fail("says nothing about documents. Add 'documents:' with terms, metadata, source or an age.")
    given = entries[action]
    if action == "pin":
        return Rule(name, node.line, when, which, action, place=_whole(given, 1, 1000))
    if action == "filter":
        if given.value is not True:
            given.fail("is true, or left out.")
        return Rule(name, node.line, when, which, action)
    return Rule(name, node.line, when, which, action, weight=given.number(0, MAX_SHIFT))


def _when(node: Node) -> When:
    entries = node.entries(("terms", "regex", "language", "tenant"))
    return When(
        _optional(entries, "terms", _terms, frozenset()),
        _optional(entries, "regex", _regex, None),
        _optional(entries, "language", _language, None),
        _optional(entries, "tenant", lambda given: frozenset(item.text() for item in given.items()), frozenset()),
    )


def _which(node: Node) -> Which:
    entries = node.entries(("terms", "metadata", "source", "older_than", "newer_than"))
    if not entries:
        node.fail("is empty. Add terms, metadata, source, older_than or newer_than.")
    return Which(
        _optional(entries, "terms", _weights, {}),
        _optional(entries, "metadata", _metadata, {}),
        _optional(entries, "source", lambda given: tuple(item.text() for item in given.items()), ()),
        _optional(entries, "older_than", _duration, None),
        _optional(entries, "newer_than", _duration, None),
    )


def _optional(entries: Mapping[str, Node], name: str, read: Callable[[Node], Value], otherwise: Value) -> Value:
    return read(entries[name]) if name in entries else otherwise


def _terms(node: Node) -> frozenset[str]:
    return frozenset(_term(item) for item in node.items())


def _term(node: Node) -> str:
    term = normalized(node.text()).strip()
    return term or node.fail("is no text.")


def _weights(node: Node) -> dict[str, float]:
    """Terms as a list, each of weight 1, or as a table with their weights."""
    if not isinstance(node.value, dict):
        return dict.fromkeys(_terms(node), 1.0)
    if not node.value:
        node.fail("is empty.")
    return {normalized(term).strip(): given.number(0, MAX_SHIFT) for term, given in node.value.items()}


def _metadata(node: Node) -> dict[str, frozenset[Any]]:
    if not isinstance(node.value, dict) or not node.value:
        node.fail("is a table of fields and the values they may have.")
    found = {}
    for name, given in node.value.items():
        values = [item.value for item in given.items()]
        if not values or any(isinstance(value, list | dict) for value in values):
            given.fail("is a value or a list of values.")
        found[name] = frozenset(map(comparable, values))
    return found


def _regex(node: Node) -> re.Pattern[str]:
    text = node.text(MAX_REGEX)
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        node.fail(f"is no regular expression ({error}).")


def _language(node: Node) -> Any:
    if node.value not in LANGUAGES:
        node.fail(f"is {node.value!r}; it is one of {', '.join(LANGUAGES)}.")
    return node.value


def _duration(node: Node) -> float:
    """Seconds; written as a number of them, or as 12h, 30d, 1y."""
    if isinstance(node.value, int | float) and not isinstance(node.value, bool) and node.value > 0:
        return float(node.value)
    match = _DURATION.fullmatch(str(node.value).strip())
    if match is None or float(match[1]) <= 0:
        node.fail(f"is {str(node.value)[:50]!r}; write an age as 12h, 30d, 8w or 1y.")
    return float(match[1]) * _UNITS[match[2]]


def _whole(node: Node, low: int, high: int) -> int:
    if isinstance(node.value, bool) or not isinstance(node.value, int):
        node.fail(f"is {node.value!r}; it is a place, a whole number from {low}.")
    return int(node.number(low, high))


def _synonyms(node: Node) -> dict[str, tuple[str, ...]]:
    """A list of words that mean the same, or a table from a word to the words that are added for it."""
    if isinstance(node.value, dict):
        table = {_term(Node(node.source, word, given.line, given.name)): given for word, given in node.value.items()}
        return {word: tuple(item.text() for item in given.items()) for word, given in table.items()}
    words = [item.text() for item in node.items()]
    if len({normalized(word) for word in words}) < 2:
        node.fail("has fewer than two words.")
    return {normalized(word): tuple(other for other in words if other != word) for word in words}


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    return {dict: "a table", list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")
