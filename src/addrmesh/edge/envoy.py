"""
Envoy's files for a routing table.

    bootstrap.json   what cannot change while Envoy runs: its admin address and where the other files are
    lds.json         the listener: routes, retries, timeouts
    cds.json         the cluster `nodes`: probes, ejection, circuit limits
    eds.json         the nodes of every region: priority, weight, drain, and the release each must serve
    eds-own.json     the region's own nodes again: they alone answer for the region, at `VERDICT_PATH`
    sds-*.json       with TLS: where its certificates are; renewed ones are taken when they are moved there

Envoy runs in the directory of these files (`command`), which they name as `.`, and takes a changed one within
milliseconds once it has been *moved* there (`install.py`); nothing restarts. Drains, weights and releases touch only
`eds.json`: a probe carries its node's release in the header `x-addrmesh-release`, so that regions may serve different
releases during a rollout and a new one needs no new cluster.

Three settings are easily taken for mistakes. A response with `Retry-After` is a refusal, not a failure: it is retried
in the next region but ejects nobody, else an overloaded node would be taken away from those who wait for it.
`hedge_on_per_try_timeout` makes the per-try timeout ask a second node without giving the first one up. And every node
may be ejected at once, because the panic threshold then serves from all of them.
"""

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Sequence
from typing import Any

from addrmesh.edge.files import RenderedFile
from addrmesh.errors import ConfigError
from addrmesh.topology.routing import VERDICT_PATH, Certificates, Endpoint, Group, RoutingTable

BULK = ("/v1/addresses:bulkParse", "/v1/addresses:bulkValidate")
"""Streams: neither buffered nor hedged, and without an end in sight."""

BOOTSTRAP = "bootstrap.json"
"""The one file that takes a restart to change."""

EDGE_HEADER = "x-addrmesh-edge"
"""Request header: the region of the edge that took the request, so that a node knows when it was failed over to."""

RELEASE_HEADER = "x-addrmesh-release"
"""Header of a probe: the release the node must serve to be ready."""

DRAIN_S = 3
"""How long connections are told to close before a stopping edge stops listening."""

MAX_CONNECTIONS = 20_000
"""Connections of users at once; one more is closed. Without a bound, idle connections exhaust the edge's memory."""

VERDICT_TRY_MS = 250.0
"""How long one of the region's own nodes may take to say that it is ready; three are asked at most."""

Json = dict[str, Any]


def command(table: RoutingTable, binary: str) -> list[str]:
    """
    Return the command that runs the edge; its working directory must be that of the files.

    To stop without losing a request, POST `/drain_listeners?graceful` to the admin port, wait `DRAIN_S`, send SIGTERM.
    """
    return [
        binary, "--config-path", BOOTSTRAP, "--disable-hot-restart", "--concurrency", "1",
        "--drain-time-s", str(DRAIN_S), "--log-level", "warning", "--service-node", f"{table.region}-edge",
    ]  # fmt: skip


def render(table: RoutingTable) -> list[RenderedFile]:
    """
    Return the files of the region's Envoy.

    Raises:
        ConfigError: A node or the edge has a host name, which files that are watched cannot hold.
    """
    kind = "envoy.extensions.transport_sockets.tls.v3.Secret"
    assignment = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    return [
        RenderedFile(BOOTSTRAP, _encode(_bootstrap(table))),
        *(_discovery(f"sds-{s['name']}.json", kind, s) for s in _secrets(table.certificates)),
        _discovery("lds.json", "envoy.config.listener.v3.Listener", _listener(table)),
        _discovery("cds.json", "envoy.config.cluster.v3.Cluster", _cluster(table), _own_cluster(table)),
        _discovery("eds.json", assignment, _endpoints("nodes", table, table.groups)),
        _discovery("eds-own.json", assignment, _endpoints("own", table, table.groups[:1])),
    ]


def flattened(files: Iterable[RenderedFile]) -> list[RenderedFile]:
    """Return one bootstrap with everything in it: `envoy --mode validate` does not look at discovery files."""
    documents = {f.path: _without(("sds_config", "eds_cluster_config"), json.loads(f.content)) for f in files}
    whole = documents.pop(BOOTSTRAP)
    found: dict[str, list[Json]] = {"sds": []}
    for path, document in documents.items():
        for resource in document["resources"]:
            del resource["@type"]
            found.setdefault(path[:3], []).append(resource)
    assignment = {endpoints["cluster_name"]: endpoints for endpoints in found["eds"]}
    del whole["dynamic_resources"]
    whole["static_resources"] = {
        "listeners": found["lds"],
        "clusters": [c | {"type": "STATIC", "load_assignment": assignment[c["name"]]} for c in found["cds"]],
        "secrets": found["sds"],
    }
    return [RenderedFile(BOOTSTRAP, _encode(whole))]


def _without(keys: tuple[str, ...], document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _without(keys, value) for key, value in document.items() if key not in keys}
    if isinstance(document, list):
        return [_without(keys, item) for item in document]
    return document


def _bootstrap(table: RoutingTable) -> Json:
    return {
        "node": {"cluster": "addrmesh", "id": f"{table.region}-edge"},
        "admin": {"address": _address("127.0.0.1", table.listener.admin_port)},
        "dynamic_resources": {"lds_config": _watched("lds.json"), "cds_config": _watched("cds.json")},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _type(
                            "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
                        ),
                        "max_active_downstream_connections": MAX_CONNECTIONS,
                    },
                }
            ]
        },
    }


def _listener(table: RoutingTable) -> Json:
    figures = table.figures
    manager = {
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "use_remote_address": True,
        # Nobody is internal: x-envoy-* headers of callers, which could change retries and timeouts, are dropped. An
        # empty list would mean the private networks; nobody comes from the broadcast address.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "request_id_extension": {
            "typed_config": {
                "@type": _type("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"),
                "pack_trace_reason": False,
            }
        },
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {"idle_timeout": "60s"},
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "60s",
        "delayed_close_timeout": "1s",
        "drain_timeout": f"{DRAIN_S}s",
        "http2_protocol_options": {"max_concurrent_streams": 100},
        "local_reply_config": {"mappers": [_problem(*row) for row in _PROBLEMS]},
        "route_config": {
            "name": "edge",
            "virtual_hosts": [
                {
                    "name": "edge",
                    "domains": ["*"],
                    "request_headers_to_add": [
                        {
                            "header": {"key": EDGE_HEADER, "value": table.region},
                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                        }
                    ],
                    "request_body_buffer_limit": figures.buffered_bytes,
                    "routes": [_verdict_route()]
                    + [_route(table, path, is_stream=True) for path in BULK]
                    + [_route(table, None, is_stream=False)],
                }
            ],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.buffer",
                "typed_config": {
                    "@type": _type("envoy.extensions.filters.http.buffer.v3.Buffer"),
                    "max_request_bytes": figures.buffered_bytes,
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": _type("envoy.extensions.filters.http.router.v3.Router"),
                    "suppress_envoy_headers": True,
                },
            },
        ],
    }
    return {
        "name": "edge",
        "address": _address(table.listener.host, table.listener.port),
        "per_connection_buffer_limit_bytes": figures.buffered_bytes,
        # Two edges on one port by mistake must fail, not share the connections.
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": _type(
                                "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
                            ),
                            **manager,
                        },
                    }
                ]
            }
            | _towards_users(table.certificates)
        ],
    }


def _route(table: RoutingTable, path: str | None, *, is_stream: bool) -> Json:
    figures = table.figures
    retries: Json = {
        # Not 504: that is the node's word that the caller's deadline has passed.
        "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
        "retriable_status_codes": [500, 502, 503],
        "num_retries": figures.tries - 1,
        "retry_back_off": {"base_interval": "0.002s", "max_interval": "0.02s"},
        "retry_host_predicate": [PREVIOUS_HOSTS],
        "host_selection_retry_max_attempts": 5,
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": _type("envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"),
                "update_frequency": 1,
            },
        },
    }
    action: Json = {"cluster": "nodes", "timeout": "0s" if is_stream else _seconds(figures.route_timeout_ms)}
    if not is_stream:
        retries["per_try_timeout"] = _seconds(figures.per_try_ms)
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    return {
        "match": {"path": path} if path else {"prefix": "/"},
        "route": action | {"retry_policy": retries},
    } | (
        {
            "typed_per_filter_config": {
                "envoy.filters.http.buffer": {
                    "@type": _type("envoy.extensions.filters.http.buffer.v3.BufferPerRoute"),
                    "disabled": True,
                }
            }
        }
        if is_stream
        else {}
    )


def _cluster(table: RoutingTable) -> Json:
    figures = table.figures
    interval = _seconds(figures.probe_interval_ms)
    return {
        "name": "nodes",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _watched("eds.json")},
        "connect_timeout": _seconds(figures.connect_timeout_ms),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {
            "healthy_panic_threshold": {"value": figures.panic_percent},
            # By default, changes of health, weight or drain within a second of another wait until that second is over.
            "update_merge_window": "0s",
        },
        # Else a node that was taken out of eds.json keeps its traffic for as long as it passes its probes.
        "ignore_health_on_host_removal": True,
        "per_connection_buffer_limit_bytes": figures.buffered_bytes,
        "health_checks": [
            {
                "interval": interval,
                "timeout": _seconds(figures.probe_timeout_ms),
                "no_traffic_interval": interval,
                "no_traffic_healthy_interval": interval,
                "unhealthy_threshold": figures.probes_to_change,
                "healthy_threshold": figures.probes_to_change,
                "http_health_check": {
                    "path": "/readyz",
                    "request_headers_to_add": [
                        {
                            "header": {
                                "key": RELEASE_HEADER,
                                "value": "%UPSTREAM_METADATA(addrmesh:release)%",
                            },
                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                        }
                    ],
                },
            }
        ],
        "outlier_detection": {
            "interval": "0.5s",
            "base_ejection_time": _seconds(figures.ejection_ms),
            "max_ejection_percent": 100,
            "consecutive_5xx": figures.failures_to_eject,
            "enforcing_consecutive_5xx": 100,
            "consecutive_gateway_failure": figures.failures_to_eject,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_success_rate": 0,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": figures.max_requests,
                    "max_pending_requests": figures.max_requests,
                    "max_requests": figures.max_requests,
                    "retry_budget": {
                        "budget_percent": {"value": figures.retry_budget_percent},
                        "min_retry_concurrency": figures.min_retry_concurrency,
                    },
                }
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _type("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": {"idle_timeout": "4s"},
                "outlier_detection": {"error_matcher": _FAILURE},
            }
        },
    } | _towards_nodes(table.certificates)


def _own_cluster(table: RoutingTable) -> Json:
    """Return the cluster that answers for the region: without probes or panic, so that nobody is asked for nothing."""
    return {
        "name": "own",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _watched("eds-own.json")},
        "connect_timeout": _seconds(VERDICT_TRY_MS),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "ignore_health_on_host_removal": True,
    } | _towards_nodes(table.certificates)


def _verdict_route() -> Json:
    return {
        "match": {"path": VERDICT_PATH},
        "route": {
            "cluster": "own",
            "prefix_rewrite": "/readyz",
            "timeout": _seconds(3 * VERDICT_TRY_MS),
            "retry_policy": {
                "retry_on": "connect-failure,reset,retriable-status-codes",
                "retriable_status_codes": [503],
                "num_retries": 2,
                "per_try_timeout": _seconds(VERDICT_TRY_MS),
                "retry_host_predicate": [PREVIOUS_HOSTS],
                "host_selection_retry_max_attempts": 5,
            },
        },
    }


def _endpoints(cluster: str, table: RoutingTable, groups: Sequence[Group]) -> Json:
    return {
        "cluster_name": cluster,
        "endpoints": [
            {
                "locality": {"region": group.region},
                "priority": priority,
                "lb_endpoints": [_endpoint(e) for e in group.endpoints],
            }
            for priority, group in enumerate(groups)
        ],
        "policy": {"overprovisioning_factor": round(table.figures.overprovisioning_percent)},
    }


def _endpoint(endpoint: Endpoint) -> Json:
    return {
        "endpoint": {
            "address": _address(endpoint.host, endpoint.port),
            "hostname": endpoint.tls_name,
        },
        # Draining: what runs is finished, nothing new comes. Removed and added again it would have to be probed first.
        "health_status": "DRAINING" if endpoint.is_draining else "HEALTHY",
        "load_balancing_weight": endpoint.weight,
        "metadata": {"filter_metadata": {"addrmesh": {"release": endpoint.release or ""}}},
    }


PREVIOUS_HOSTS: Json = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    },
}
"""A retry does not go where the request has been."""

_FAILURE: Json = {
    "and_match": {
        "rules": [
            {
                "http_response_headers_match": {
                    "headers": [{"name": ":status", "string_match": {"prefix": "5"}}],
                }
            },
            {
                "http_response_headers_match": {
                    "headers": [{"name": "retry-after", "present_match": True, "invert_match": True}],
                }
            },
        ]
    }
}

_PROBLEMS = (
    # What Envoy answers itself, in the shape of a node's problem documents: its flag or status, ours, code, texts.
    ("UT", 504, "deadline-exceeded", "No node answered in time", "节点未在时限内应答"),
    ("UH,UF,UC,URX,UO,NR,UR,LR,NC", 503, "no-node-available", "No node can be reached", "没有可用节点"),
    ("413", 413, "input-too-long", "The input is longer than the limit", "输入超过长度上限"),
)


def _problem(when: str, status: int, code: str, en: str, zh: str) -> Json:
    if when.isdigit():
        condition: Json = {
            "status_code_filter": {
                "comparison": {"op": "EQ", "value": {"default_value": status, "runtime_key": "unused"}}
            }
        }
    else:
        condition = {"response_flag_filter": {"flags": when.split(",")}}
    headers = {"content-type": "application/problem+json"} | ({"retry-after": "1"} if status == 503 else {})
    return {
        "filter": condition,
        "status_code": status,
        "headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
        "body_format_override": {
            "json_format": {
                "type": f"/problems/{code}",
                "title": en,
                "title_zh": zh,
                "status": status,
                "code": code,
                "request_id": "%REQ(x-request-id)%",
            },
            "content_type": "application/problem+json",
        },
    }


def _towards_users(certificates: Certificates | None) -> Json:
    if certificates is None:
        return {}
    return {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _type("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "tls_certificate_sds_secret_configs": [_secret("own")],
                },
            },
        }
    }


def _towards_nodes(certificates: Certificates | None) -> Json:
    if certificates is None:
        return {}
    return {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _type("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
                # A node proves its own name: no other process of the fleet can stand in for it.
                "auto_host_sni": True,
                "auto_sni_san_validation": True,
                "common_tls_context": {
                    # Envoy as a client stops at 1.2 by default.
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "tls_certificate_sds_secret_configs": [_secret("own")],
                    "validation_context_sds_secret_config": _secret("authority"),
                },
            },
        }
    }


def _secrets(certificates: Certificates | None) -> list[Json]:
    if certificates is None:
        return []
    watched = {"watched_directory": {"path": str(certificates.certificate.parent)}}
    own = {
        "certificate_chain": {"filename": str(certificates.certificate)},
        "private_key": {"filename": str(certificates.key)},
    }
    authority = {"trusted_ca": {"filename": str(certificates.authority)}}
    return [
        {"name": "own", "tls_certificate": own | watched},
        {"name": "authority", "validation_context": authority | watched},
    ]


def _secret(name: str) -> Json:
    return {"name": name, "sds_config": _watched(f"sds-{name}.json")}


def _discovery(path: str, kind: str, *resources: Json) -> RenderedFile:
    found = [{"@type": _type(kind), **resource} for resource in resources]
    version = hashlib.sha256(json.dumps(found).encode()).hexdigest()[:12]
    return RenderedFile(path, _encode({"version_info": version, "resources": found}))


def _watched(path: str) -> Json:
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": f"./{path}", "watched_directory": {"path": "."}},
        "initial_fetch_timeout": "0s",
    }


def _address(host: str, port: int) -> Json:
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigError(f"host: found {host!r}, allowed with an Envoy edge: an IP address") from error
    return {"socket_address": {"address": host, "port_value": port}}


def _type(name: str) -> str:
    return f"type.googleapis.com/{name}"


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.9f}".rstrip("0").rstrip(".") + "s"


def _encode(document: Json) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
