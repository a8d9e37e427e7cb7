"""Options of a generated nginx configuration, checked so that no text can become a directive."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rerankd.errors import InvalidRequestError

BURST_SECONDS = 10

_HOST = r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))"
_INSTANCE = re.compile(rf"({_HOST}):(?P<port>\d{{1,5}})")
_LISTEN = re.compile(rf"(?:({_HOST}|\*):)?(?P<port>\d{{1,5}})")
_SERVER_NAME = re.compile(r"_|(?:\*\.)?[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9][A-Za-z0-9-]*)*")
_PATH = re.compile(r"/[^\x00-\x1f\x7f\"'$\\;{}#]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_RATE = re.compile(r"([1-9]\d{0,6})/([ms])")


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Limits of the service that nginx must agree with.

    Attributes:
        scoring_paths: paths whose POST changes nothing and may be sent twice.
        request_id: pattern of the request ids that the service keeps.
        max_body_bytes: limit of a request body in bytes.
        body_pause_seconds: longest pause between two parts of a body.
        max_queue_seconds: longest wait of an accepted request.
        request_timeout: time limit of a request in seconds; 0 for no limit.
        keep_alive_seconds: seconds after which an idle connection is closed.
    """

    scoring_paths: Sequence[str]
    request_id: str
    max_body_bytes: int
    body_pause_seconds: float
    max_queue_seconds: float
    request_timeout: float
    keep_alive_seconds: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Rate limit.

    Example:
        >>> Rate.parse("600/m"), Rate.parse("600/m").burst, Rate.parse("6/m").retry_after
        (Rate(requests=600, per='m'), 100, 10)
    """

    requests: int
    per: str

    @classmethod
    def parse(cls, text: str, flag: str = "--rate") -> Rate:
        """Read 600/m or 10/s.

        Raises:
            InvalidRequestError: the text is not a rate.
        """
        match = _RATE.fullmatch(text)
        if match is None:
            raise InvalidRequestError(
                f"{flag} {text!r} is not a rate.", hint="Write requests a minute or a second: 600/m or 10/s."
            )
        return cls(int(match[1]), match[2])

    @property
    def seconds(self) -> int:
        """Length of the time window."""
        return 60 if self.per == "m" else 1

    @property
    def burst(self) -> int:
        """Requests that may arrive at once: those of ten seconds."""
        return max(1, self.requests * BURST_SECONDS // self.seconds)

    @property
    def retry_after(self) -> int:
        """Seconds until one more request passes, rounded up."""
        return max(1, math.ceil(self.seconds / self.requests))

    def times(self, factor: int) -> Rate:
        """Return the rate times a factor."""
        return Rate(self.requests * factor, self.per)

    def __str__(self) -> str:
        return f"{self.requests}/{self.per}"


@dataclass(frozen=True, slots=True)
class NginxOptions:
    """Options of the configuration; all are checked here, so that no text can become a directive.

    Args:
        instances: `host:port` of each instance.
        listen: port, or `address:port`.
        server_names: names of the site; none for any.
        tls_cert: certificate chain, as nginx's machine knows it.
        tls_key: private key of the certificate.
        rate: rate limit of one key, or of one address where no key is sent; None for no limit.
        address_rate: rate limit of one address with all its keys; None for ten times `rate`.
        burst: requests of one key that may arrive at once; None for those of ten seconds.
        connections: simultaneous connections of one address; None for no limit.
        folder: folder of the process id, logs and temporary files; None for nginx's defaults.
        logs: folder of the logs; None for `folder`, or /var/log/nginx.
        user: account of nginx's workers where root starts it; None for nginx's default.
        read_timeout: seconds that nginx waits for an instance; None for the time in which an instance answers.

    Raises:
        InvalidRequestError: an option cannot be used; the message names it.

    Example:
        >>> print(NginxOptions(("10.0.0.1:8000", "10.0.0.2:8000"), rate=Rate.parse("600/m")).command)
        rerankd deploy nginx --instances 10.0.0.1:8000,10.0.0.2:8000 --listen 80 --rate 600/m
    """

    instances: Sequence[str]
    listen: str = "80"
    server_names: Sequence[str] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    rate: Rate | None = None
    address_rate: Rate | None = None
    burst: int | None = None
    connections: int | None = None
    folder: str | None = None
    logs: str | None = None
    user: str | None = None
    read_timeout: int | None = None

    def __post_init__(self) -> None:
        if not self.instances:
            raise InvalidRequestError("No instance is named.", hint="Give --instances host:port,host:port.")
        for instance in self.instances:
            _check_port(_INSTANCE.fullmatch(instance), f"--instances {instance!r} is not host:port.", "10.0.0.1:8000")
        for name, count in Counter(instance.lower() for instance in self.instances).items():
            if count > 1:
                raise InvalidRequestError(f"Instance {name} is named {count} times.", hint="Name it once.")
        _check_port(_LISTEN.fullmatch(self.listen), f"--listen {self.listen!r} is not a port.", "80 or 127.0.0.1:8080")
        for name in self.server_names:
            _check(name, _SERVER_NAME, "--server-name", "Write host names: rerank.example.org or *.example.org.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidRequestError("TLS needs a certificate and its key.", hint="Give --tls-cert and --tls-key.")
        paths = {
            "--tls-cert": self.tls_cert,
            "--tls-key": self.tls_key,
            "--folder": self.folder,
            "--logs": self.logs,
        }
        for flag, path in paths.items():
            if path is not None:
                _check(path, _PATH, flag, "Give an absolute path without quotes, $, \\, ;, #, { and }.")
        if self.user is not None:
            _check(self.user, _USER, "--user", "Write the name of an account, such as www-data.")
        if self.rate is None and (self.burst is not None or self.address_rate is not None):
            raise InvalidRequestError(
                "--burst and --address-rate belong to a rate.", hint="Give --rate, such as 600/m."
            )

    @property
    def command(self) -> str:
        """Command line that generates this configuration."""
        flags = {
            "--instances": ",".join(self.instances),
            "--listen": self.listen,
            "--server-name": ",".join(self.server_names) or None,
            "--tls-cert": self.tls_cert,
            "--tls-key": self.tls_key,
            "--rate": self.rate,
            "--address-rate": self.address_rate,
            "--burst": self.burst,
            "--connections": self.connections,
            "--folder": self.folder,
            "--logs": self.logs,
            "--user": self.user,
            "--read-timeout": self.read_timeout,
        }
        args = (f"{flag} {shlex.quote(str(value))}" for flag, value in flags.items() if value is not None)
        return " ".join(("rerankd deploy nginx", *args))


def _check(text: str, pattern: re.Pattern[str], flag: str, hint: str) -> None:
    if not pattern.fullmatch(text):
        raise InvalidRequestError(f"{flag} {text!r} cannot be written into the configuration.", hint=hint)


def _check_port(match: re.Match[str] | None, sentence: str, example: str) -> None:
    if match is None or not 0 < int(match["port"]) <= 65535:
        raise InvalidRequestError(sentence, hint=f"Write it as {example}.")
