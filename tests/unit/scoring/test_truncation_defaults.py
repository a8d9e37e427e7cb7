from __future__ import annotations

import warnings

import pytest

from rerankd import Reranker
from rerankd.errors import InvalidRequestError
from rerankd.models.files import load_model
from rerankd.scoring.encoder import TruncationOptions
from rerankd.scoring.truncation_defaults import TruncationDefaults, checked_length


def test_a_call_changes_the_length_and_nothing_else() -> None:
    defaults = TruncationDefaults(load_model("mini"), TruncationOptions(128, chunk_overlap=7), None)
    assert defaults.changed(None, None) == defaults.options
    assert defaults.changed(64, None) == TruncationOptions(64, chunk_overlap=7)
    assert not defaults.ignores(" ")
    with pytest.raises(InvalidRequestError):
        defaults.changed(10**6, None)


def test_one_warning_for_an_instruction_that_is_not_read() -> None:
    defaults = TruncationDefaults(load_model("mini"), TruncationOptions(128), None)
    with pytest.warns(UserWarning, match="not read by this model") as caught:
        assert defaults.changed(None, "Retrieve statutes.").instruction is None
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        defaults.changed(None, "Retrieve statutes.")
    assert defaults.ignores("Retrieve statutes.")


def test_the_warning_points_to_the_callers_line() -> None:
    with pytest.warns(UserWarning, match="not read") as caught:
        reranker = Reranker(instruction="Retrieve statutes.")
    assert caught[0].filename == __file__
    assert reranker.instruction is None


def test_no_length_is_the_models_own() -> None:
    files = load_model("mini")
    assert checked_length(files, None) == files.manifest.max_length
