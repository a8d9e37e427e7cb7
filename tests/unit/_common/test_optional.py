from __future__ import annotations

import pytest

from rerankd._common.optional import installed, require
from rerankd.errors import MissingDependencyError


def test_require() -> None:
    assert require("json", "none", "Reading").dumps({}) == "{}"
    assert installed("json")
    assert not installed("no_such_package")
    sentence = (
        r"Flying needs the package 'no_such_package', which is not installed. Run: pip install \"rerankd\[wings\]\""
    )
    with pytest.raises(MissingDependencyError, match=sentence):
        require("no_such_package.part", "wings", "Flying")
