"""Answers of the routes, by topic, as `TypedDict`s: types of what the handlers write, and schemas of the OpenAPI.

Nothing is validated against them while a request is served. A field that is `NotRequired` may be absent and is never
null; one that may be null is always there. `rerankd.server.schemas.openapi` says how a route declares them.
"""

from __future__ import annotations

__all__: list[str] = []
