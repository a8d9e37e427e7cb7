from __future__ import annotations

import pytest

from rerankd.server.paths import canonical_path, closest_path

KNOWN = ["/", "/rerank", "/v1/rerank", "/v2/rerank", "/v1/score", "/infinity/v1/rerank", "/v1/models", "/v1/jobs"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/rerank", "/v1/rerank"),
        ("/v1/v2/rerank", "/v2/rerank"),
        ("/v2/v1/rerank", "/v1/rerank"),
        ("/v1/v1/v1/score", "/v1/score"),
        ("/v1/rerank/", "/v1/rerank"),
        ("/v1/rerank//", "/v1/rerank"),
        ("//v1/rerank", "/v1/rerank"),
        ("/v1//rerank", "/v1/rerank"),
        ("//v1/v1//rerank/", "/v1/rerank"),
        ("/infinity/v1/v1/rerank", "/infinity/v1/rerank"),
        ("//", "/"),
        ("", "/"),
    ],
)
def test_a_slash_or_a_version_too_many_does_not_count(path: str, meant: str) -> None:
    assert canonical_path(path, KNOWN) == meant


@pytest.mark.parametrize(
    "path", ["/v3/rerank", "/v1/rerank/v1/rerank", "/v1/v2/score", "/v1", "/rerank/extra", "/V1/rerank", "/v1/metrics"]
)
def test_other_paths_stay_as_they_are(path: str) -> None:
    assert canonical_path(path, KNOWN) == path


@pytest.mark.parametrize(
    ("path", "closest"),
    [
        ("/v1/rerank/v1/rerank", "/v1/rerank"),
        ("/v1/rerank/rerank", "/v1/rerank"),
        ("/api/rerank", "/rerank"),
        ("/v1/v1/models", "/v1/models"),
        ("/rerank/extra", "/rerank"),
        ("/V1/Rerank/", "/v1/rerank"),
        ("/v1/rerankk", "/v1/rerank"),
        ("/v1/job", "/v1/jobs"),
        ("/nothing/like/it", None),
    ],
)
def test_the_closest_path_is_named(path: str, closest: str | None) -> None:
    assert closest_path(path, KNOWN) == closest
