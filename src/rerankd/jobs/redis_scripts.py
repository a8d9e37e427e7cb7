"""Lua scripts of the Redis job store, and the keys that they use.

job:ID     hash    the job            in:ID    hash   part -> payload      ring:PRIORITY        list  tenants in turn
part:ID    hash    N:t token,         out:ID   hash   part -> result       wait:PRIORITY:TENANT list  ID:N
                   N:a attempts,      req:ID   hash   part -> requests     leases, delayed      zset  ID:N by time
                   N:l lost leases,   idem:..  string ID                   deadlines, hooks,
                   N:f failed                                              dead, created        zset  ID
open       hash    jobs, bytes        waiting  hash   priority -> parts    totals               hash  name -> count
"""

from __future__ import annotations

from importlib.resources import files

PREFIX = "{rerankd}:"  # the braces keep all keys on one node of a cluster
ENDED_CHANNEL = f"{PREFIX}ended"
SCRIPTS = (
    "create",
    "claim",
    "renew",
    "finish",
    "requeue",
    "end",
    "retry",
    "interrupted_requests",
    "delete",
    "reap_expired_leases",
    "due_deliveries",
    "record_delivery",
)


def load_script(name: str) -> str:
    """Return the source of a script, with the helpers that all scripts share.

    Args:
        name: one of `SCRIPTS`.
    """
    folder = files("rerankd.jobs") / "lua"
    return "\n".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("common", name))
