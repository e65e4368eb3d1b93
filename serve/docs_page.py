"""/docs: the OpenAPI description as one page that asks nobody else for anything, so that it works
without a network and under a strict content policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
color:#1c2430;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #d5dae1}
code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#f4f6f8;padding:.7rem 1rem;overflow:auto;border-radius:4px}
details{margin:.6rem 0;border:1px solid #d5dae1;border-radius:4px;padding:.4rem .8rem}
summary{cursor:pointer} b.m{display:inline-block;min-width:3.2rem}
table{border-collapse:collapse} td,th{text-align:left;padding:.15rem .8rem .15rem 0;
vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#d7dde5;background:#12161c}pre{background:#1b212a}
h2,details{border-color:#323b47}}
"""


def render(openapi: dict[str, Any], address: str) -> str:
    """HTML of an OpenAPI document; `address` stands in the examples."""
    info = openapi["info"]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        "<p>As a document for machines: <a href='/openapi.json'>/openapi.json</a></p>",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(
                "".join(_operation(path, method, operation, openapi, address))
            )
    for tag, operations in by_tag.items():
        parts += [f"<h2>{escape(tag)}</h2>", *operations]
    return "\n".join(parts) + "</html>"


def _operation(
    path: str, method: str, operation: dict[str, Any], openapi: dict[str, Any], address: str
) -> Iterator[str]:
    yield f"<details><summary><b class='m'>{method.upper()}</b> <code>{escape(path)}</code> "
    yield f"{escape(operation.get('summary', ''))}</summary>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "<table><tr><th>parameter<th>in<th>meaning"
        for given in parameters:
            words = given.get("description") or given.get("schema", {}).get("description", "")
            yield f"<tr><td><code>{escape(given['name'])}</code><td>{escape(given['in'])}"
            yield f"<td>{escape(words)}"
        yield "</table>"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body.get("schema"):
        schema = _resolved(body["schema"], openapi)
        yield "<table><tr><th>field<th>meaning"
        for name, field in schema.get("properties", {}).items():
            words = escape(field.get("description", ""))
            yield f"<tr><td><code>{escape(name)}</code><td>{words}"
        yield "</table>"
    yield f"<pre>{escape(_curl(path, method, parameters, body, address))}</pre>"
    answers = operation.get("responses", {})
    yield "<table><tr><th>status<th>meaning"
    for status, answer in answers.items():
        yield f"<tr><td>{escape(status)}<td>{escape(answer.get('description', ''))}"
    yield "</table></details>"


def _curl(
    path: str,
    method: str,
    parameters: list[dict[str, Any]],
    body: dict[str, Any],
    address: str,
) -> str:
    asked = []
    for given in parameters:
        example = (given.get("schema", {}).get("examples") or ["BTCUSDT"])[0]
        if given["in"] == "path":
            path = path.replace("{" + given["name"] + "}", str(example))
        elif given.get("required"):
            asked.append(f"{given['name']}={example}")
    url = address + path + ("?" + "&".join(asked) if asked else "")
    if method == "get":
        return f"curl '{url}'"
    data = json.dumps(body.get("example", {}))
    return f"curl -X {method.upper()} '{url}' -H 'content-type: application/json' -d '{data}'"


def _resolved(schema: dict[str, Any], openapi: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = openapi.get("components", {}).get("schemas", {}).get(name, schema)
    return found
