"""Rules by which you correct the model: boost, bury, pin, filter, synonyms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.rules.rule import Rule, When, Which
    from rerankd.rules.rule_file import parse_rules, read_rules
    from rerankd.rules.rule_set import RuleSet
    from rerankd.rules.watcher import RulesWatcher

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.rules.rule": (
            "Rule",
            "When",
            "Which",
        ),
        "rerankd.rules.rule_file": (
            "parse_rules",
            "read_rules",
        ),
        "rerankd.rules.rule_set": ("RuleSet",),
        "rerankd.rules.watcher": ("RulesWatcher",),
    },
)

__all__ = ["Rule", "RuleSet", "RulesWatcher", "When", "Which", "parse_rules", "read_rules"]
