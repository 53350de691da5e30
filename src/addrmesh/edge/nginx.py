"""
nginx's files for a routing table: one `nginx.conf`, for those who run nginx already.

`geo` picks the region by client network; its nodes serve, those of the other regions are `backup`, which nginx uses
when none of the first is left, and for what exceeds their `max_conns`.

What it cannot do, and Envoy does: probe by itself (the supervisor does, and its dead nodes are written `down`; a
reload takes them out), change without a reload (which closes idle connections; a caller that sends on one at that
moment must connect again), hedge (so a hung node costs its requests the whole read timeout, again every `FAIL_S`),
order the other regions, and hold a node to its release.
"""

import json
import re
from collections.abc import Iterator

from addrmesh.edge.envoy import BULK, EDGE_HEADER
from addrmesh.edge.files import RenderedFile
from addrmesh.topology.routing import VERDICT_PATH, Endpoint, RoutingTable

MAX_FAILS = 10
"""Failures within `FAIL_S` that take a node out. Drill: with fewer, slowness everywhere became 502 for everyone."""

FAIL_S = 2
"""Seconds a node rests, too."""


def command(table: RoutingTable, binary: str) -> list[str]:  # noqa: ARG001 - as of every edge
    """
    Return the command that runs the edge; its working directory must be that of the files.

    SIGHUP makes it read them again, SIGQUIT ends it after the last request.
    """
    return [binary, "-p", ".", "-c", "nginx.conf"]


def render(table: RoutingTable) -> list[RenderedFile]:
    """Return the file of the region's nginx."""
    figures, listener = table.figures, table.listener
    scheme, ssl = ("https", " ssl") if table.certificates else ("http", "")
    networks = "".join(f"    {network} {region};\n" for network, region in table.networks)
    upstreams = "".join(_upstream(table, group.region) for group in table.groups)
    streams = "".join(_stream(path, scheme) for path in BULK)
    problems = "".join(_problem(*row) for row in _PROBLEMS)
    content = f"""\
daemon off;
worker_processes 1;
pid nginx.pid;
# At level `error`, nginx quotes request lines; a careless caller may have put an address there.
error_log stderr crit;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  server_tokens off;
  client_body_temp_path tmp_body;
  proxy_temp_path tmp_proxy;
  fastcgi_temp_path tmp_fastcgi;
  uwsgi_temp_path tmp_uwsgi;
  scgi_temp_path tmp_scgi;
  geo $nearest {{
    default {table.region};
{networks}  }}
  map $http_x_request_id $request_name {{ "" $request_id; default $http_x_request_id; }}
{_node_names(table)}{_own_upstream(table)}{upstreams}  server {{
    listen {_host(listener.host)}:{listener.port}{ssl};
{_certificates(table)}\
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header {EDGE_HEADER} {table.region};
    proxy_set_header X-Request-Id $request_name;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_connect_timeout {figures.connect_timeout_ms:.0f}ms;
    # Every call is a pure function of its body, so a POST may be asked of another node as well.
    proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 non_idempotent;
    proxy_next_upstream_tries {figures.tries};
    # Addresses stay in memory: no body is spooled to a file.
    client_body_buffer_size {figures.buffered_bytes};
    proxy_max_temp_file_size 0;
{streams}{problems}{_verdict(table, scheme)}\
    location / {{
      client_max_body_size {figures.buffered_bytes};
      proxy_read_timeout {figures.cancelling_read_timeout_ms:.0f}ms;
      proxy_next_upstream_timeout {figures.route_timeout_ms:.0f}ms;
      proxy_pass {scheme}://nearest_$nearest;
    }}
  }}
  server {{
    listen 127.0.0.1:{listener.admin_port};
    location = /ready {{ return 200 LIVE; }}
    location = /stub_status {{ stub_status; }}
  }}
}}
"""
    return [RenderedFile("nginx.conf", content.encode())]


def _upstream(table: RoutingTable, nearest: str) -> str:
    return f"""\
  upstream nearest_{nearest} {{
    zone nearest_{nearest} 256k;
    least_conn;
{"".join(_servers(table, nearest))}\
    keepalive 64;
  }}
"""


def _own_upstream(table: RoutingTable) -> str:
    """Return the nodes that answer for the region."""
    servers = [f"    server {_host(e.host)}:{e.port};\n" for e in table.groups[0].endpoints if not _is_out(e)]
    return f"  upstream own {{\n{''.join(servers)}  }}\n" if servers else ""


def _verdict(table: RoutingTable, scheme: str) -> str:
    is_out = all(_is_out(e) for e in table.groups[0].endpoints)
    answer = "return 503;" if is_out else f"proxy_read_timeout 250ms;\n      proxy_pass {scheme}://own/readyz;"
    return f"""\
    location = {VERDICT_PATH} {{
      {answer}
    }}
"""


def _stream(path: str, scheme: str) -> str:
    return f"""\
    location = {path} {{
      client_max_body_size 0;
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_read_timeout 60s;
      proxy_pass {scheme}://nearest_$nearest;
    }}
"""


_PROBLEMS = (
    # What nginx answers itself, in the shape of a node's problem documents: its status, ours, code, text.
    (502, 503, "no-node-available", "No node can be reached"),
    (504, 504, "deadline-exceeded", "No node answered in time"),
    (413, 413, "input-too-long", "The input is longer than the limit"),
)


def _problem(found: int, status: int, code: str, title: str) -> str:
    document = json.dumps({"type": f"/problems/{code}", "title": title, "status": status, "code": code})
    return f"""\
    error_page {found} ={status} @{code};
    location @{code} {{
      default_type application/problem+json;
      add_header Retry-After 1 always;
      return {status} '{document}';
    }}
"""


def _servers(table: RoutingTable, nearest: str) -> Iterator[str]:
    everyone = [e for group in table.groups for e in group.endpoints]
    # When nobody may serve, everybody does: an edge fails open.
    is_open = all(_is_out(e) for e in everyone)
    for group in table.groups:
        # Backups are not bounded: they take the overflow, and refuse for themselves.
        role = f" max_conns={table.figures.node_concurrency}" if group.region == nearest else " backup"
        for e in group.endpoints:
            down = " down" if _is_out(e) and not is_open else ""
            yield (
                f"    server {_host(e.host)}:{e.port} weight={e.weight}{role} "
                f"max_fails={MAX_FAILS} fail_timeout={FAIL_S}s{down};  # {e.id}\n"
            )


def _is_out(endpoint: Endpoint) -> bool:
    return endpoint.is_draining or endpoint.is_believed_dead


def _certificates(table: RoutingTable) -> str:
    at = table.certificates
    if at is None:
        return ""
    return f"""\
    ssl_certificate {at.certificate};
    ssl_certificate_key {at.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    proxy_ssl_certificate {at.certificate};
    proxy_ssl_certificate_key {at.key};
    proxy_ssl_trusted_certificate {at.authority};
    proxy_ssl_verify on;
    proxy_ssl_verify_depth 2;
    proxy_ssl_name $node_name;
    proxy_ssl_server_name on;
    proxy_ssl_protocols TLSv1.3;
"""


def _node_names(table: RoutingTable) -> str:
    """Return the map from the node that is being asked, the last of `$upstream_addr`, to the name it must prove."""
    if table.certificates is None:
        return ""
    nodes = "".join(
        f"    ~(^|\\s){re.escape(f'{_host(e.host)}:{e.port}')}$ {e.tls_name};\n"
        for group in table.groups
        for e in group.endpoints
    )
    return f"""\
  map $upstream_addr $node_name {{
    volatile;
{nodes}  }}
"""


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
