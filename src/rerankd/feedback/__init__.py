"""Feedback on rankings and what follows from it: bad cases, monitoring, retention and erasure.

events       clicks, citations, thumbs up or down, grades
judgements   meaning of the events on a ranking
store        events in the database, joined with traces
detectors    problems of one ranking;  detection: detectors run over the store
cases        bad cases;  case_store: their queue in the database;  case_update;  case_reasons: what was found;
             case_erasure
labels       grades of each labeller, and which of them counts;  label_store: their history in the database
labelling    labelling and undo on rankings and cases;  label_queue: what to label next;  agreement of two labellers
case_export  data sets made of labelled cases
monitoring   statistics of recent rankings, by model and tenant;  rates: what feedback says of them
activity_series  the same over time;  activity_summaries, judged_rankings: what it is read from;  sketch: distributions
score_drift  scores of any time, and how they drift;  activity_figures: figures of the last hour that alerts watch
retention    deletion by age and size, erasure on request;  size_limit: fairness between tenants;  deletion
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.feedback.agreement import Agreement, cohen_kappa, read_agreement
    from rerankd.feedback.case_export import graded_cases, request_times, training_lines, write_beir
    from rerankd.feedback.case_store import (
        CaseFilter,
        add_cases,
        count_cases,
        flag_request,
        get_case,
        iter_cases,
        list_cases,
    )
    from rerankd.feedback.case_update import set_state, update_case
    from rerankd.feedback.cases import BadCase, CaseCandidate, CaseReason
    from rerankd.feedback.detection import CaseDetector, DetectionLimits, detect, detect_disagreement
    from rerankd.feedback.detectors import Detection, DetectorThresholds, ScoreBaseline, run_detectors
    from rerankd.feedback.events import FeedbackEvent, read_csv, validate_event
    from rerankd.feedback.judgements import Judgements, judge
    from rerankd.feedback.label_store import read_labels
    from rerankd.feedback.labelling import label_ranking, undo_label
    from rerankd.feedback.labels import Label, decided_grade
    from rerankd.feedback.monitoring import Activity, MonitorWindows, monitor, psi
    from rerankd.feedback.rates import FeedbackRates, feedback_rates
    from rerankd.feedback.retention import (
        DeletionCounts,
        RetentionPolicy,
        erase_document,
        erase_tenant,
        erase_text,
        prune,
    )
    from rerankd.feedback.store import TracedFeedback, add_feedback, feedback_on, import_feedback, read_feedback

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.feedback.agreement": (
            "Agreement",
            "cohen_kappa",
            "read_agreement",
        ),
        "rerankd.feedback.case_export": (
            "graded_cases",
            "request_times",
            "training_lines",
            "write_beir",
        ),
        "rerankd.feedback.case_store": (
            "CaseFilter",
            "add_cases",
            "count_cases",
            "flag_request",
            "get_case",
            "iter_cases",
            "list_cases",
        ),
        "rerankd.feedback.case_update": (
            "set_state",
            "update_case",
        ),
        "rerankd.feedback.cases": (
            "BadCase",
            "CaseCandidate",
            "CaseReason",
        ),
        "rerankd.feedback.detection": (
            "CaseDetector",
            "DetectionLimits",
            "detect",
            "detect_disagreement",
        ),
        "rerankd.feedback.detectors": (
            "Detection",
            "DetectorThresholds",
            "ScoreBaseline",
            "run_detectors",
        ),
        "rerankd.feedback.events": (
            "FeedbackEvent",
            "read_csv",
            "validate_event",
        ),
        "rerankd.feedback.judgements": (
            "Judgements",
            "judge",
        ),
        "rerankd.feedback.label_store": ("read_labels",),
        "rerankd.feedback.labelling": (
            "label_ranking",
            "undo_label",
        ),
        "rerankd.feedback.labels": (
            "Label",
            "decided_grade",
        ),
        "rerankd.feedback.monitoring": (
            "Activity",
            "MonitorWindows",
            "monitor",
            "psi",
        ),
        "rerankd.feedback.rates": (
            "FeedbackRates",
            "feedback_rates",
        ),
        "rerankd.feedback.retention": (
            "DeletionCounts",
            "RetentionPolicy",
            "erase_document",
            "erase_tenant",
            "erase_text",
            "prune",
        ),
        "rerankd.feedback.store": (
            "TracedFeedback",
            "add_feedback",
            "feedback_on",
            "import_feedback",
            "read_feedback",
        ),
    },
)

__all__ = [
    "Activity",
    "Agreement",
    "BadCase",
    "CaseCandidate",
    "CaseDetector",
    "CaseFilter",
    "CaseReason",
    "DeletionCounts",
    "Detection",
    "DetectionLimits",
    "DetectorThresholds",
    "FeedbackEvent",
    "FeedbackRates",
    "Judgements",
    "Label",
    "MonitorWindows",
    "RetentionPolicy",
    "ScoreBaseline",
    "TracedFeedback",
    "add_cases",
    "add_feedback",
    "cohen_kappa",
    "count_cases",
    "decided_grade",
    "detect",
    "detect_disagreement",
    "erase_document",
    "erase_tenant",
    "erase_text",
    "feedback_on",
    "feedback_rates",
    "flag_request",
    "get_case",
    "graded_cases",
    "import_feedback",
    "iter_cases",
    "judge",
    "label_ranking",
    "list_cases",
    "monitor",
    "prune",
    "psi",
    "read_agreement",
    "read_csv",
    "read_feedback",
    "read_labels",
    "request_times",
    "run_detectors",
    "set_state",
    "training_lines",
    "undo_label",
    "update_case",
    "validate_event",
    "write_beir",
]
