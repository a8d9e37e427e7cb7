from __future__ import annotations

import pytest

from rerankd.errors import InvalidRequestError
from rerankd.server.nginx.options import NginxOptions, Rate

TWO = ("10.0.0.1:8000", "10.0.0.2:8000")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"instances": ()}, "Give --instances"),
        ({"instances": ("10.0.0.1",)}, "'10.0.0.1' is not host:port"),
        ({"instances": ("10.0.0.1:0",)}, "is not host:port"),
        ({"instances": ("10.0.0.1:70000",)}, "is not host:port"),
        ({"instances": ("a:1; } evil {",)}, "is not host:port"),
        ({"instances": ("a:1\n",)}, "is not host:port"),
        ({"instances": ("unix:/tmp/x",)}, "is not host:port"),
        ({"instances": ("A:1", "a:1")}, "Instance a:1 is named 2 times"),
        ({"listen": "80 default_server"}, "is not a port"),
        ({"listen": "0"}, "is not a port"),
        ({"server_names": ("a; return 200",)}, "--server-name"),
        ({"server_names": ("~^(.*)$",)}, "--server-name"),
        ({"server_names": ("a.example.org\n",)}, "--server-name"),
        ({"tls_cert": "/a.pem"}, "Give --tls-cert and --tls-key"),
        ({"tls_cert": "a.pem", "tls_key": "/a.key"}, "absolute path"),
        ({"tls_cert": '/a";\nevil "', "tls_key": "/a.key"}, "absolute path"),
        ({"tls_cert": "/$request_uri", "tls_key": "/a.key"}, "absolute path"),
        ({"folder": "/tmp/x;"}, "absolute path"),
        ({"user": "root;"}, "--user"),
        ({"burst": 3}, "Give --rate"),
    ],
)
def test_what_cannot_be_written_safely_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        NginxOptions(**({"instances": TWO} | options))  # type: ignore[arg-type]
    assert sentence in str(refused.value)


@pytest.mark.parametrize("text", ["600", "0/m", "600/h", "-1/s", "1.5/s", "6/m;"])
def test_rates_are_requests_a_minute_or_a_second(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="Write requests a minute or a second: 600/m or 10/s"):
        Rate.parse(text)
