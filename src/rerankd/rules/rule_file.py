"""Rule files: YAML that is read and checked; every error names its line, and nothing unknown is ignored."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankd.errors import InvalidInputFileError
from rerankd.rules.rule import Rule
from rerankd.rules.rule_set import RuleSet
from rerankd.rules.yaml_document import YamlDocument

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

MAX_BYTES = 16_000_000
MAX_TERMS = 200_000


def read_rules(path: Path) -> RuleSet:
    """Read and check a rule file.

    Args:
        path: the file.

    Raises:
        InvalidInputFileError: the file cannot be read or something in it is wrong; the message names line and fix.
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
    """Check the content of a rule file.

    Args:
        content: the file's bytes.
        source: name of the file, for messages.

    Raises:
        InvalidInputFileError: something is wrong; the message names line and fix.
        MissingDependencyError: the extra `rules` is not installed.

    Example:
        >>> rules = parse_rules(b"rules: [{name: a, documents: {terms: [x]}, boost: 1}]")
        >>> rules.rules[0].action
        'boost'
    """
    from pydantic import ValidationError

    from rerankd.rules.schema import RuleFile  # pydantic is loaded only if there are rules

    document = YamlDocument(content, source)
    try:
        file = RuleFile.model_validate(document.value)
    except ValidationError as error:
        raise _first_error(error, document) from error
    rules = [section.build(document.line(["rules", number])) for number, section in enumerate(file.rules)]
    _check_names(rules, source)
    terms = sum(len(rule.when.terms) + len(rule.which.terms) + len(rule.synonyms) for rule in rules)
    if terms > MAX_TERMS:
        line = document.line(["rules"])
        raise InvalidInputFileError(f"{source}, line {line}: rules has {terms} terms; at most {MAX_TERMS} are allowed.")
    version = hashlib.sha256(content).hexdigest()[:12]
    return RuleSet(rules, version, max_shift=file.max_shift, date_field=file.date_field)


def _check_names(rules: list[Rule], source: str) -> None:
    lines: dict[str, int] = {}
    for rule in rules:
        if rule.name in lines:
            raise InvalidInputFileError(
                f"{source}, line {rule.line}: rule {rule.name!r} has the name of the rule in line {lines[rule.name]}.",
                hint="Names are unique.",
            )
        lines[rule.name] = rule.line


def _first_error(error: ValidationError, document: YamlDocument) -> InvalidInputFileError:
    """Return the error that comes first in the file, as a sentence with its line."""
    errors = []
    for number, details in enumerate(error.errors(include_url=False)):
        location = _existing(document.value, [step for step in details["loc"] if step not in ("<list>", "<table>")])
        context = details.get("ctx", {})
        if context.get("field"):
            location.append(context["field"])
        if details["type"] == "missing":
            location.pop()
        errors.append((document.line(location), number, location, details))
    line, _, location, details = min(errors, key=lambda entry: entry[:2])
    if details["type"] == "missing" and not location:
        return InvalidInputFileError(
            f"{document.source}, line 1: there is no 'rules' list.", hint="Write 'rules:' first."
        )
    sentence = _sentence(details["type"], details.get("ctx", {}), details["input"], location)
    others = len(errors) - 1
    more = f" ({others} more error{'s' * (others > 1)} in the file.)" if others else ""
    return InvalidInputFileError(f"{document.source}, line {line}: {_name(document.value, location)} {sentence}{more}")


def _existing(value: Any, location: list[str | int]) -> list[str | int]:
    """Return the location without positions in a list that is written as its only item."""
    for depth, step in enumerate(location):
        if isinstance(step, int) and not isinstance(value, list):
            return location[:depth]
        if isinstance(value, dict | list) and (isinstance(step, int) or step in value):
            value = value[step]  # type: ignore[index]
    return location


def _sentence(kind: str, context: dict[str, Any], value: Any, location: list[str | int]) -> str:
    from rerankd.rules.schema import kind_of

    if "sentence" in context:
        return str(context["sentence"])
    if kind == "missing":
        return "has no name. Write '- name: ...'; results and traces use it."
    if kind == "extra_forbidden":
        return f"is not a known field. Known fields: {', '.join(_fields(location[:-1]))}."
    return f"is {kind_of(value)}; it must be a table with {', '.join(_fields(location))}."


def _fields(location: list[str | int]) -> list[str]:
    """Return the fields of the section at a location."""
    from rerankd.rules.schema import DocumentsSection, RuleFile, RuleSection, WhenSection

    sections: dict[int, type[BaseModel]] = {
        0: RuleFile,
        2: RuleSection,
        3: WhenSection if location[-1:] == ["when"] else DocumentsSection,
    }
    return list(sections[len(location)].model_fields)


def _name(value: Any, location: list[str | int]) -> str:
    """Return the name of a value for a message: `rule 'a'.when.terms[2]`, or the path if the rule has no name."""
    if not location:
        return "the file"
    path = "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")
    if len(location) < 2 or location[0] != "rules":
        return path
    rule = value["rules"][location[1]]
    name = rule.get("name") if isinstance(rule, dict) else None
    if not isinstance(name, str | int | float) or isinstance(name, bool):
        return path
    prefix = f"rules[{int(location[1]) + 1}]"
    return path.replace(prefix, f"rule {str(name).strip()!r}", 1)
