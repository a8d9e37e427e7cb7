from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.settings import load_settings
from rerankd.wiring.engine import SettingsLoader


def test_a_max_length_above_the_limit_of_the_model_is_an_error() -> None:
    loader = SettingsLoader(load_settings(max_length=100_000, cache=False))
    with pytest.raises(InvalidRequestError, match="max_length is 100000; mini reads at most"):
        loader.open("mini", loader.find("mini"))


def test_the_settings_shorten_what_a_model_reads() -> None:
    loader = SettingsLoader(load_settings(max_length=64, cache=False))
    engine, truncation = loader.open("mini", loader.find("mini"))
    engine.close(0.0)
    assert truncation.max_length == 64
