"""The console: pages that show what rankings did, and where people label, evaluate and decide.

app          routers of all pages
pages        rendering of a page as HTML or JSON;  router: pages and actions with sign-in, CSRF check and errors
visitor      who looks at a page, and what they may see
messages     one table of messages in English and Chinese;  language: which of them a visitor reads
formats      numbers, times and texts as pages show them
evaluation   pages of evaluations;  evaluation_results: what they found;  evaluation_forms: what visitors send
             evaluation_views, evaluation_lists: content;  evaluation_texts: texts of datasets and cases
sign_in      sessions: signing in and out, language
static_files files of the pages, vendored libraries among them
decision_form the reason that every decision needs;  experiments, experiment_form, experiment_view: experiments
models, model_view  served and registered models;  history: all decisions

comparison   two ranked lists of the same documents, as `components/comparison.html` shows them;  rankings: lists from
             scores and from traces
compare      page that compares;  compare_form: its fields and documents;  compare_models: models that it scores with
compared     a finished comparison;  comparer: of pasted documents;  trace_comparer: of traces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.console.app import console_routers

__getattr__ = lazy_exports(__name__, {"rerankd.console.app": ("console_routers",)})

__all__ = ["console_routers"]
