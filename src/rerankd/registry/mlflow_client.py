"""MLflow as a library: its environment, set once per process, and its client.

MLflow reads its settings from the environment. They are set before it is imported and never changed afterwards, since
the environment belongs to all threads. Files get a longer timeout than other requests, per request.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from rerankd._common.optional import require

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
# MLflow sends telemetry, draws progress bars and waits for minutes by default; values that users set are kept.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    TIMEOUT: "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # a database file that was replaced is opened again
}
# A server may read a large file completely before it sends the first byte, or store it before it answers.
FILE_TIMEOUT_SECONDS = 600
_lock = threading.Lock()


def open_client(uri: str) -> Any:
    """Return an `MlflowClient` for a tracking and registry address.

    Raises:
        MissingDependencyError: the extra `registry` is not installed.
        Exception: whatever MLflow raises.
    """
    with _lock:
        has_own_timeout = os.environ.get(TIMEOUT, ENVIRONMENT[TIMEOUT]) != ENVIRONMENT[TIMEOUT]
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        tracking = require("mlflow.tracking", "registry", "The model registry")
        if not has_own_timeout:
            _extend_file_timeout(require("mlflow.store.artifact.http_artifact_repo", "registry", "The model registry"))
    return tracking.MlflowClient(uri, uri)


def _extend_file_timeout(artifacts: Any) -> None:
    """Give uploads and downloads a timeout of their own; MLflow has one setting for all requests.

    Args:
        artifacts: MLflow's module that transfers files; its `http_request` is wrapped once.
    """
    http_request: Callable[..., Any] = artifacts.http_request
    if getattr(http_request, "has_file_timeout", False):
        return

    def request(host_creds: Any, endpoint: str, method: str, **options: Any) -> Any:
        is_transfer = method == "PUT" or options.get("stream", False)
        if is_transfer:
            options.setdefault("timeout", FILE_TIMEOUT_SECONDS)
        return http_request(host_creds, endpoint, method, **options)

    request.has_file_timeout = True  # type: ignore[attr-defined]  # marks the wrapper
    artifacts.http_request = request
