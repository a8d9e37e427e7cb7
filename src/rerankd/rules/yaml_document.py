"""YAML read into plain values that remember their lines, so that an error can name the line it is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rerankd._common.optional import require
from rerankd.errors import InvalidInputFileError

Location = Sequence[str | int]


class YamlDocument:
    """One YAML document.

    Args:
        content: the file's bytes, UTF-8.
        source: name of the file, for messages.

    Attributes:
        value: dicts with text keys, lists and scalars; None for an empty document.

    Raises:
        InvalidInputFileError: not UTF-8, not YAML, a key that is given twice, or a key that is not a text.
        MissingDependencyError: the extra `rules` is not installed.

    Example:
        >>> document = YamlDocument(b"rules:\\n  - name: a\\n", "rules.yaml")
        >>> document.value, document.line(["rules", 0, "name"])
        ({'rules': [{'name': 'a'}]}, 2)
    """

    def __init__(self, content: bytes, source: str) -> None:
        self.source = source
        self._yaml: Any = require("yaml", "rules", "Reading rules")
        self._constructor = self._yaml.SafeLoader("")
        self._values: dict[int, Any] = {}
        self._root = None
        try:
            # libyaml is ten times as fast, if PyYAML was built with it; both loaders make plain values only.
            loader = getattr(self._yaml, "CSafeLoader", self._yaml.SafeLoader)
            self._root = self._yaml.compose(content.decode("utf-8-sig"), Loader=loader)
            self.value: Any = None if self._root is None else self._value(self._root)
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise InvalidInputFileError(f"{source}, line {line}: not UTF-8.", hint="Save the file as UTF-8.") from error
        except RecursionError as error:
            raise InvalidInputFileError(
                f"{source} is nested too deeply.", hint="A rule file has at most three levels."
            ) from error
        except self._yaml.YAMLError as error:
            raise self._syntax_error(error) from error

    def line(self, location: Location) -> int:
        """Return the line of a value, from 1: that of its key in a table, that of its beginning in a list.

        Args:
            location: keys and positions that lead to the value; the path is followed as far as it exists.
        """
        node = self._root
        line = 1 if node is None else node.start_mark.line + 1
        for step in location:
            if isinstance(node, self._yaml.MappingNode):
                entry = next((entry for entry in node.value if entry[0].value == step), None)
                if entry is None:
                    break
                line, node = entry[0].start_mark.line + 1, entry[1]
            elif isinstance(node, self._yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return int(line)

    def _value(self, node: Any) -> Any:
        # What an alias repeats is one object, so that a small file cannot become a large value.
        if id(node) not in self._values:
            self._values[id(node)] = self._construct(node)
        return self._values[id(node)]

    def _construct(self, node: Any) -> Any:
        if isinstance(node, self._yaml.SequenceNode):
            return [self._value(item) for item in node.value]
        if not isinstance(node, self._yaml.MappingNode):
            return self._constructor.construct_object(node)
        table: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, self._yaml.ScalarNode):
                raise InvalidInputFileError(
                    f"{self.source}, line {line}: a key is not a string.", hint="Put the key in quotes."
                )
            if key.value in table:
                raise InvalidInputFileError(
                    f"{self.source}, line {line}: {key.value!r} is given twice.", hint="Remove one."
                )
            table[key.value] = self._value(value)
        return table

    def _syntax_error(self, error: Any) -> InvalidInputFileError:
        problem = getattr(error, "problem", None)
        mark = getattr(error, "problem_mark", None)
        if "end of stream" in str(problem):  # report an unclosed bracket or quote where it was opened
            mark = getattr(error, "context_mark", None) or mark
        location = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return InvalidInputFileError(
            f"{self.source}{location}: not valid YAML ({problem or error}).", hint="Correct that line."
        )
