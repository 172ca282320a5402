"""The OpenAPI document, prepared for the API page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete", "head")


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a call: its name, location, type and meaning."""

    name: str
    location: str
    kind: str
    is_required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a body."""

    name: str
    kind: str
    is_required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Call:
    """One method of one path."""

    method: str
    path: str
    summary: str
    description: str
    arguments: tuple[Argument, ...]
    body: str
    fields: tuple[Field, ...]
    responses: tuple[tuple[str, str], ...]


def sections_of(document: Mapping[str, Any]) -> dict[str, list[Call]]:
    """The calls of the API by tag, in the order of the document."""
    sections: dict[str, list[Call]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                sections.setdefault(item[method]["tags"][0], []).append(_call(document, method, path, item[method]))
    return sections


def _call(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Call:
    body = _body(operation.get("requestBody", {}))
    return Call(
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        arguments=tuple(_arguments(operation)),
        body=kind_of(body) if body else "",
        fields=tuple(_fields(document, body)),
        responses=tuple((status, _response(response)) for status, response in operation["responses"].items()),
    )


def _arguments(operation: Mapping[str, Any]) -> Iterator[Argument]:
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        description = parameter.get("description") or schema.get("description", "")
        yield Argument(
            parameter["name"], parameter["in"], kind_of(schema), parameter.get("required", False), description
        )


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Field]:
    name = schema.get("$ref", "").rpartition("/")[2]
    model = document["components"]["schemas"].get(name, {})
    for field, facts in model.get("properties", {}).items():
        yield Field(field, kind_of(facts), field in model.get("required", ()), facts.get("description", ""))


def _body(request: Mapping[str, Any]) -> Mapping[str, Any]:
    content = request.get("content", {})
    if "application/octet-stream" in content:
        return {"type": "bytes"}
    schema: Mapping[str, Any] = content.get("application/json", {}).get("schema", {})
    return schema


def _response(response: Mapping[str, Any]) -> str:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    kind = kind_of(schema) if schema else ""
    return kind if kind not in ("", "ProblemDocument") else str(response["description"])


def kind_of(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: `string`, `list of Lease`, `number | null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " | ".join(repr(value) for value in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(dict.fromkeys(kind_of(part) for part in schema[union]))
    kind = str(schema.get("type", "anything"))
    return f"list of {kind_of(schema['items'])}" if kind == "array" and "items" in schema else kind
