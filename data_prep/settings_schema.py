"""List the settings of a model: as a JSON schema for editors, as text for ``--help``; meanings are its docstrings."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.settings import Settings

_WORDS = {"integer": "whole number", "boolean": "true or false", "string": "text", "object": "mapping"}
"""Type of JSON → words of the list, where they differ."""

_PLURAL = re.compile(r"\b(number|text|path|value)\b")
_MAX_DEFAULT = 80
"""Characters of a default value that are shown."""

_Node = Mapping[str, Any]


def json_schema(model: type[Settings]) -> dict[str, Any]:
    """Build the JSON schema of a YAML file of settings.

    Args:
        model: settings of the whole file.

    Returns:
        Draft 2020-12. Nothing is required, since the command line may add what the file leaves out.
    """
    schema = model.model_json_schema()
    for node in (schema, *schema.get("$defs", {}).values()):
        node.pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def list_settings(model: type[Settings], width: int = 100) -> str:
    """List all settings with type, range, default and meaning.

    Args:
        model: settings of a command.
        width: largest number of columns.

    Returns:
        Lines; a setting has its name in dots, as on the command line.
    """
    schema = model.model_json_schema()
    lines = list(_group_lines(schema, schema.get("$defs", {}), "", width))
    return "\n".join(lines).strip("\n")


def _group_lines(group: _Node, definitions: _Node, prefix: str, width: int) -> Iterator[str]:
    required = group.get("required", ())
    groups: list[tuple[str, list[_Node]]] = []
    for name, node in group["properties"].items():
        if members := [part for part in _alternatives(node, definitions) if "properties" in part]:
            groups.append((name, members))
        else:
            yield from _setting_lines(prefix + name, node, definitions, width, is_required=name in required)
    for name, members in groups:
        for member in members:
            chosen = member["properties"].get("name", {}).get("const")
            title = f"{prefix}{name}.*" + (f" with {prefix}{name}.name={chosen}" if chosen and len(members) > 1 else "")
            yield from ("", *_wrap(f"{title}: {_summary(member)}", width, 2), "")
            yield from _group_lines(member, definitions, f"{prefix}{name}.", width)


def _setting_lines(name: str, node: _Node, definitions: _Node, width: int, *, is_required: bool) -> Iterator[str]:
    if "default" in node:
        default = f"default {textwrap.shorten(_value(node['default']), _MAX_DEFAULT, placeholder=' …')}"
    else:
        default = "required" if is_required else "default empty"
    yield from _wrap(f"{name}: {_type(node, definitions)}; {default}", width, 4)
    if meaning := node.get("description"):
        yield from _wrap(meaning.replace("``", ""), width, 8)
    for item in (resolved for part in _alternatives(node, definitions) for resolved in _items(part, definitions)):
        yield from _group_lines(item, definitions, f"{name}[].", width)


def _items(node: _Node, definitions: _Node) -> list[_Node]:
    """The schemas of the items of a list that are groups of settings."""
    return [item for item in _alternatives(node.get("items", {}), definitions) if "properties" in item]


def _wrap(text: str, width: int, indent: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=" " * indent, subsequent_indent=" " * max(indent, 8), break_on_hyphens=False
    )


def _summary(group: _Node) -> str:
    """First sentence of the docstring of a group."""
    sentence: str = group.get("description", "").partition("\n\n")[0]
    return " ".join(sentence.split()).replace("``", "")


def _alternatives(node: _Node, definitions: _Node) -> list[_Node]:
    """The schemas of which a value has one, with references resolved."""
    if "$ref" in node:
        return [definitions[node["$ref"].rpartition("/")[2]]]
    parts = [part for key in ("anyOf", "oneOf", "allOf") for part in node.get(key, ())]
    return [resolved for part in parts for resolved in _alternatives(part, definitions)] or [node]


def _type(node: _Node, definitions: _Node) -> str:
    parts = (_type_of_one(part, definitions) for part in _alternatives(node, definitions))
    return " or ".join(dict.fromkeys(part for part in parts if part))


def _type_of_one(node: _Node, definitions: _Node) -> str:
    if "properties" in node:
        return f"{{{', '.join(node['properties'])}}}"
    if "enum" in node:
        return " | ".join(map(_value, node["enum"]))
    if "const" in node:
        return _value(node["const"])
    if node.get("type") == "array":
        items = node.get("items") or {"anyOf": node.get("prefixItems", [])}
        return "list of " + _PLURAL.sub(r"\1s", _type(items, definitions) or "value")
    if isinstance(node.get("additionalProperties"), Mapping):
        return f"mapping to {_type(node['additionalProperties'], definitions)}"
    kind = "path" if node.get("format") == "path" else node.get("type", "")
    return " ".join((_WORDS.get(kind, kind), *_range(node)))


def _range(node: _Node) -> Iterator[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {_value(node[name])}" for name, sign in signs.items() if name in node]
    if limits:
        yield " and ".join(limits)


def _value(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
