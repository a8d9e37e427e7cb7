"""`rerankd jobs`: list, show, cancel, retry and delete asynchronous jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd._common.plural import counted
from rerankd.cli.options import Json
from rerankd.cli.output import cell, readable, say, stdout, wants_json, write_rows
from rerankd.errors import InvalidRequestError, NotFoundError
from rerankd.jobs.job import STATES, Job
from rerankd.jobs.queue import JobQueue
from rerankd.settings import load_settings
from rerankd.wiring.jobs import open_queue

app = typer.Typer(
    help="Manage asynchronous jobs, in the queue of queue_url or the file of jobs_path.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]
Queue = Annotated[str | None, typer.Option("--queue-url", help="Redis with the jobs.  [default: setting queue_url]")]
Path = Annotated[
    str | None, typer.Option("--jobs-path", help="SQLite file with the jobs.  [default: setting jobs_path]")
]


@app.command("list")
def list_jobs(
    state: Annotated[str | None, typer.Option(help=f"Only jobs in this state: {', '.join(STATES)}, or dead.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to list.")] = 50,
    queue_url: Queue = None,
    jobs_path: Path = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first; `--state dead` lists jobs with parts in the dead-letter queue."""
    states = [known for known in STATES if known == state]
    if state and state != "dead" and not states:
        raise InvalidRequestError(f"There is no state {state!r}.", hint=f"Use one of: {', '.join(STATES)}, dead.")
    with _queue(queue_url, jobs_path) as queue:
        jobs = queue.store.dead_letters(limit) if state == "dead" else queue.store.jobs(states=states, limit=limit)
        waiting = queue.store.queue_depth()
    if wants_json(as_json):
        write_rows(map(_fields, jobs))
        return
    table = Table("id", "state", "owner", "priority", "done", "failed", "of", "created", "error")
    for job in jobs:
        numbers = (str(job.done), str(job.failed), str(job.total))
        table.add_row(
            job.id, job.state, cell(job.tenant), job.priority, *numbers, _when(job.created), cell(job.error, 200)
        )
    stdout().print(table)
    say(f"Waiting parts: {waiting.interactive} interactive, {waiting.bulk} bulk.")


@app.command()
def show(job: Name, queue_url: Queue = None, jobs_path: Path = None, as_json: Json = False) -> None:
    """Show a job with the errors of its requests."""
    from rerankd.jobs.results import result_rows

    with _queue(queue_url, jobs_path) as queue:
        details = _existing(queue.store.get(job), job)
        rows = list(result_rows(queue.store.results(job)))
    errors = [(index, row["error"]["message"]) for index, row in enumerate(rows) if row and "error" in row]
    summary = _fields(details) | {"errors": [{"index": index, "error": error} for index, error in errors]}
    if wants_json(as_json):
        write_rows([summary])
        return
    table = Table("", "", show_header=False)
    for name, value in summary.items():
        if name != "errors":
            table.add_row(name, _when(value) if name in _TIMES else cell(readable(value)))
    for index, error in errors[:20]:
        table.add_row(f"request {index}", cell(error))
    stdout().print(table)


@app.command()
def cancel(job: Name, queue_url: Queue = None, jobs_path: Path = None) -> None:
    """Cancel a job; running work stops."""
    with _queue(queue_url, jobs_path) as queue:
        cancelled = _existing(queue.store.cancel(job), job)
    say(f"Job {job} is {cancelled.state}.")


@app.command()
def retry(job: Name, queue_url: Queue = None, jobs_path: Path = None) -> None:
    """Queue the failed, cancelled or expired parts of a job again."""
    with _queue(queue_url, jobs_path) as queue:
        retried = _existing(queue.retry(job), job)
    if retried.final:
        raise InvalidRequestError(f"Job {job} has nothing to retry.", hint="All of its parts succeeded.")
    say(f"Job {job} is queued again.")


@app.command()
def purge(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    older: Annotated[float, typer.Option(min=0, help="Only jobs that ended at least this many hours ago.")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    queue_url: Queue = None,
    jobs_path: Path = None,
) -> None:
    """Delete finished jobs with their results."""
    final = [known for known in STATES if known not in ("queued", "running") and (state is None or known == state)]
    if not final:
        raise InvalidRequestError(f"Jobs that are {state!r} cannot be purged.", hint="Cancel them first.")
    before = datetime.now(UTC).timestamp() - older * 3600
    with _queue(queue_url, jobs_path) as queue:
        jobs = [job for job in queue.store.jobs(states=final, limit=100_000) if job.finished <= before]
        if jobs and not yes:
            typer.confirm(
                f"Delete {counted(len(jobs), 'job and its results', 'jobs and their results')}?", abort=True, err=True
            )
        gone = sum(queue.store.delete(job.id) for job in jobs)
    say(f"{counted(gone, 'job was', 'jobs were')} deleted.")


@app.command()
def secret() -> None:
    """Generate a value for the setting webhook_secret; receivers need it to verify signatures."""
    from rerankd.jobs.webhook import new_secret

    stdout().print(new_secret(), markup=False, highlight=False, soft_wrap=True)


_TIMES = frozenset({"created", "started", "finished", "deadline"})


@contextmanager
def _queue(queue_url: str | None, jobs_path: str | None) -> Iterator[JobQueue]:
    settings = load_settings(queue_url=queue_url, jobs_path=jobs_path)
    if jobs_path and not queue_url:  # --jobs-path means that file, even if the settings name a queue
        settings = settings.model_copy(update={"queue_url": None})
    with open_queue(settings) as queue:
        yield queue


def _existing(job: Job | None, name: str) -> Job:
    if job is None:
        raise NotFoundError(f"There is no job {name!r}.", hint="See: rerankd jobs list")
    return job


def _fields(job: Job) -> dict[str, Any]:
    """Return the fields of a job for output, where the tenant is called `owner`."""
    return {"owner" if name == "tenant" else name: value for name, value in asdict(job).items()}


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds") if seconds else ""
