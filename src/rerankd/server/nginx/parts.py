"""Parts of an nginx configuration that depend on the options."""

from __future__ import annotations

from rerankd.server.nginx.options import NginxOptions, ServiceLimits

ADDRESS_FACTOR = 10
# Status of nginx, status that the client gets, the service's code, message, Retry-After in seconds (0 for none).
ERRORS = (
    (403, 403, "permission_denied", "Not available through the proxy. Send the request to an instance.", 0),
    (404, 404, "not_found", "The path does not exist. See /docs.", 0),
    (408, 408, "body_timeout", "The body did not arrive in time. Send it without pauses.", 0),
    (413, 413, "payload_too_large", "The body is larger than {body:g} MB. Send fewer documents.", 0),
    (494, 431, "too_large", "The headers are too large.", 0),
    (429, 429, "rate_limited", "Too many requests. Send it again after the time in Retry-After.", -1),
    (500, 500, "internal_error", "Internal error of the proxy. See its error log.", 0),
    (502, 502, "unavailable", "No instance is reachable. Send the request again.", 1),
    (503, 503, "unavailable", "No instance is ready. Send the request again.", 1),
    (504, 504, "unavailable", "The instance did not answer in time. Send the request again.", 1),
)
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
HSTS = 'add_header Strict-Transport-Security "max-age=31536000" always;'


def temporary_folders(nginx: NginxOptions) -> str:
    """Return the directives for bodies that do not fit into memory."""
    if not nginx.folder:
        return ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f'    {kind}_temp_path "{nginx.folder}/{kind}";\n' for kind in kinds)


def limits(nginx: NginxOptions) -> str:
    """Return the maps that identify clients, and the zones of the rate limits."""
    lines: list[str] = []
    if nginx.rate:
        address = nginx.address_rate or nginx.rate.times(ADDRESS_FACTOR)
        lines += [
            "",
            "# Rate limits count by API key, read from the headers in the order in which the service reads them, or by",
            "# address without a key. nginx does not verify keys: the limit per address stops invented ones.",
            "map $http_api_key $rerankd_third {",
            "    default $http_api_key;",
            '    "" $binary_remote_addr;',
            "}",
            "map $http_x_api_key $rerankd_second {",
            "    default $http_x_api_key;",
            '    "" $rerankd_third;',
            "}",
            "map $http_authorization $rerankd_caller {",
            "    default $http_authorization;",
            '    "~*^bearer\\s+(?<rerankd_bearer>\\S+)" $rerankd_bearer;',
            '    "~*^bearer\\s*$" $rerankd_second;',
            '    "" $rerankd_second;',
            "}",
            f"limit_req_zone $rerankd_caller zone=rerankd_callers:10m rate={nginx.rate.requests}r/{nginx.rate.per};",
            f"limit_req_zone $binary_remote_addr zone=rerankd_addresses:10m rate={address.requests}r/{address.per};",
            "limit_req_status 429;",
        ]
    if nginx.connections:
        lines += [
            "",
            "limit_conn_zone $binary_remote_addr zone=rerankd_connections:10m;",
            "limit_conn_status 429;",
        ]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines)


def limited(nginx: NginxOptions) -> str:
    """Return the rate limits inside a location."""
    lines: list[str] = []
    if nginx.rate:
        address = nginx.address_rate or nginx.rate.times(ADDRESS_FACTOR)
        burst = nginx.rate.burst if nginx.burst is None else nginx.burst
        lines.append(f"limit_req zone=rerankd_callers{_burst(burst)};")
        lines.append(f"limit_req zone=rerankd_addresses{_burst(max(address.burst, burst))};")
    if nginx.connections:
        lines.append(f"limit_conn rerankd_connections {nginx.connections};")
    return "".join(f"            {line}\n" for line in lines)


def _burst(requests: int) -> str:
    return f" burst={requests} nodelay" if requests else ""


def tls(nginx: NginxOptions) -> str:
    """Return the directives of TLS: certificate, protocols and session cache."""
    if not nginx.tls_cert:
        return ""
    lines = [
        f'ssl_certificate "{nginx.tls_cert}";',
        f'ssl_certificate_key "{nginx.tls_key}";',
        "ssl_protocols TLSv1.2 TLSv1.3;",
        f"ssl_ciphers {CIPHERS};",
        "ssl_prefer_server_ciphers off;",
        "ssl_session_cache shared:rerankd_tls:10m;",
        "ssl_session_timeout 1d;",
        "ssl_session_tickets off;",
        "# No plain HTTP listener: by the time it redirects, the API key has been sent in clear text.",
        HSTS,
    ]
    return "".join(f"        {line}\n" for line in lines)


def error_locations(nginx: NginxOptions, service: ServiceLimits) -> str:
    """Return a location for each error of nginx itself, with the body that the service would write."""
    wait = nginx.rate.retry_after if nginx.rate else 1
    lines = [
        f"error_page {code}{f' ={status}' if code != status else ''} @rerankd_{status};"
        for code, status, *_ in ERRORS
        if code != 502  # the template has that one
    ]
    for _, status, code, sentence, seconds in ERRORS:
        lines += [f"location @rerankd_{status} {{", "    add_header X-Request-ID $rerankd_request_id always;"]
        lines.append("    add_header Cache-Control no-store always;")
        if nginx.tls_cert:
            lines.append(f"    {HSTS}")
        if seconds:
            lines.append(f"    add_header Retry-After {wait if seconds < 0 else seconds} always;")
        lines.append(f"    set $rerankd_code {code};")
        lines.append(f'    set $rerankd_text "{sentence.format(body=service.max_body_bytes / 1_000_000)}";')
        lines += [f"    return {status} $rerankd_error;", "}"]
    return "\n".join(f"        {line}" for line in lines)
