"""Fields left out of a recording because they differ between runs, and the comparison of two recordings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

SCORE_TOLERANCE = 2e-3
LOGIT_TOLERANCE = 2e-2
"""int8 products are exact on every CPU, and no kernel saturates. What stands between them is float32, whose sums differ
in their last bits from one instruction set to another, and such a bit can move an activation by a step of its int8
range. 0.02 of logits that range over 20 is well above that, and well below what a change of the computation, the
template or a cut does. A sigmoid passes on a quarter of it at most, and mostly much less."""

LOGITS = {
    "raw_score", "raw_scores", "logits", "margin", "severity", "shift", "scale", "offset", "total", "squares",
    "top_score", "measured",
}  # fmt: skip
"""Fields in logits, or sums of them."""

MILLISECONDS = re.compile(r"(^|_)(ms|seconds|latency)$|_ms_|per_second$|^(encode|compute)$")
SENTENCES = {"message", "detail", "error", "reason", "advice", "says", "hint", "warnings"}
"""Fields that speak to people; that there is a sentence is compared, its words are not."""

HEADERS = (
    "content-type", "x-request-id", "x-rerankd-version", "x-rerankd-experiment", "x-compute-tokens", "retry-after",
    "location", "allow", "www-authenticate",
)  # fmt: skip
"""Headers whose values are compared for each answer; of all others, the names are."""

SECURITY = (
    "cache-control", "content-security-policy", "referrer-policy", "x-content-type-options", "x-frame-options",
)  # fmt: skip
"""Headers whose values are the same on each answer; they are compared once."""


def mask_times(value: Any, key: str) -> Any:
    """Replace points in time: seconds or milliseconds since 1970, and ISO 8601."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "<time>" if 1.5e9 < value < 4e9 or 1.5e12 < value < 4e12 else value
    if isinstance(value, str):
        return re.sub(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?([+-]\d\d:\d\d|Z)?", "<time>", value)
    return value


def mask_moments(value: Any, key: str) -> Any:
    """Replace the time at which a row was written."""
    return "<time>" if key == "time" and isinstance(value, float) and not value.is_integer() else value


def mask_durations(value: Any, key: str) -> Any:
    """Replace what was measured with a clock."""
    if key == "retry-after":
        return "<seconds>"
    if isinstance(value, str) and key == "description":
        return re.sub(r"\d+(\.\d+)? m?s\b", "<ms>", value)
    return "<ms>" if isinstance(value, int | float) and MILLISECONDS.search(key) else value


def mask_sentences(value: Any, key: str) -> Any:
    """Replace sentences."""
    return "<sentence>" if isinstance(value, str) and key in SENTENCES and " " in value.strip() else value


def mask_random(value: Any, key: str) -> Any:
    """Replace random identifiers: of jobs, UUIDs, hexadecimal ones under `run_id` and the like, numbers of texts."""
    if key == "parameters" and isinstance(value, int):
        return "<number>"
    if not isinstance(value, str):
        return value
    if key == "tenant" and re.fullmatch(r"[0-9a-f]{8}", value):  # of a key that was made in the recording
        return "<random>"
    if key in RANDOM and re.fullmatch(r"[0-9a-f-]{20,40}", value):
        return "<random>"
    return re.sub(r"\b([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|job_[\w-]{24})", "<random>", value, flags=re.ASCII)


def mask_user(value: Any, key: str) -> Any:
    """Replace the name of whoever runs this, or of the machine."""
    return "<user>" if key == "who" and isinstance(value, str) else value


RANDOM = {"id", "run_id", "job", "request_id", "x-request-id", "seed", "idempotency", "token"}
Rule = Callable[[Any, str], Any]
RULES: tuple[Rule, ...] = (mask_times, mask_durations, mask_sentences, mask_random, mask_user)
OF_FILES: tuple[Rule, ...] = (mask_sentences, mask_user, mask_moments)
"""Fields left out of stored files, in which hardly anything varies."""


def masked(value: Any, replaced: Mapping[str, str], rules: Sequence[Rule] = RULES, key: str = "") -> Any:
    """Return a JSON value without what differs from run to run.

    Args:
        value: what was seen.
        replaced: strings of this run, such as folders and addresses, and what is written for them.
        rules: what is left out.
        key: name under which the value stands; items of a list have the list's.
    """
    if isinstance(value, Mapping):
        kept = {masked(name, replaced, rules): masked(item, replaced, rules, name) for name, item in value.items()}
        return dict.fromkeys(kept, "<ms>") if key == "timings" and mask_durations in rules else kept
    if isinstance(value, list | tuple):
        return [masked(item, replaced, rules, key) for item in value]
    if isinstance(value, str):
        for text, mark in replaced.items():
            value = value.replace(text, mark)
    for rule in rules:
        value = rule(value, key)
    return value


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two recordings differ.

    Attributes:
        path: where, as `entry/key/0/key`.
        before: what was recorded.
        after: what is now.
    """

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}\n  was {self.before!r:.400}\n  now {self.after!r:.400}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A difference that is wanted.

    Attributes:
        path: pattern for `Difference.path`, with the recording's name before it: `library/*/timings`.
        reason: why it is wanted.
        after: what it has to be now; None for anything.
        only_more: True if all keys of before have to be there still.
        added: name that a line of JSON has to have now, as `key` or `key/key`; all else in the line is as recorded.
    """

    path: str
    reason: str
    after: Any = None
    added: str = ""
    only_more: bool = False

    def covers(self, name: str, difference: Difference) -> bool:
        """Return whether a difference of a recording is this one."""
        known = fnmatchcase(f"{name}/{difference.path}", self.path)
        if self.only_more:
            return known and set(difference.before) <= set(difference.after)
        if self.added:
            return known and _only_added(difference.before, difference.after, self.added.split("/"))
        return known and (self.after is None or not list(differences(self.after, difference.after)))


def _only_added(before: Any, after: Any, names: Sequence[str]) -> bool:
    """Return whether two lines of JSON differ in a number that is new, and in nothing else."""
    try:
        old, new = json.loads(before), json.loads(after)
        *parents, last = names
        holder = new
        for name in parents:
            holder = holder[name]
        added = holder.pop(last)
        if parents and not holder:  # only there for what was added
            del new[parents[0]]
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return isinstance(added, float) and not list(differences(old, new))


def differences(before: Any, after: Any, path: str = "", key: str = "") -> Iterator[Difference]:
    """Compare two JSON values: floats within a tolerance, keys in their order, all else exactly."""
    if isinstance(before, dict) and isinstance(after, dict):
        if list(before) != list(after):
            yield Difference(f"{path}/(keys)".lstrip("/"), list(before), list(after))
        for name in before:
            if name in after:
                yield from differences(before[name], after[name], f"{path}/{name}".lstrip("/"), name)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield Difference(f"{path}/(length)", len(before), len(after))
        for position, (old, new) in enumerate(zip(before, after, strict=False)):
            yield from differences(old, new, f"{path}/{position}", key)
    elif isinstance(before, float) and isinstance(after, float):
        tolerance = LOGIT_TOLERANCE if key in LOGITS else SCORE_TOLERANCE
        relative = tolerance if abs(before) < 1e6 else 0.0  # above are points in time
        if not math.isclose(before, after, rel_tol=relative, abs_tol=tolerance):
            yield Difference(path, before, after)
    elif type(before) is not type(after) or before != after:
        yield Difference(path, before, after)
