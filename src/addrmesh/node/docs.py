"""
The page at `/docs`: Swagger UI from the package `fastapi-offline`, so that no content network is needed.

Below it the same page lists the endpoints as plain HTML; that is what a browser without JavaScript shows.
"""

import html
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, Response

ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}


def page(document: dict[str, Any]) -> HTMLResponse:
    """Return the page for an OpenAPI document. Links are relative, so a path prefix in front does no harm."""
    shell = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=document["info"]["title"],
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
    )
    rows = "".join(
        f"<li><code>{method.upper()} {html.escape(path)}</code>: {html.escape(operation['summary'])}</li>"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    plain = f'<h1>{document["info"]["title"]}</h1><ul>{rows}</ul><p><a href="openapi.json">openapi.json</a></p>'
    body = bytes(shell.body).decode().replace('<div id="swagger-ui">', f'<div id="swagger-ui">{plain}')
    return HTMLResponse(body)


@cache
def asset(name: str) -> Response:
    """Return one of `ASSETS`; it may be kept for a day."""
    data = files("fastapi_offline").joinpath("static", name).read_bytes()
    return Response(data, media_type=ASSETS[name], headers={"cache-control": "public, max-age=86400"})
