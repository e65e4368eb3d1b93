"""Graphs spoiled in their own bytes, as a converter or a careless hand would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnx import ModelProto, helper

Lists = dict[str, list[Any]]


def spoiled(graph: bytes, node: str, change: Callable[[Lists], None]) -> bytes:
    """The graph with the attributes of one of its nodes changed."""
    model = ModelProto.FromString(graph)
    found = next(n for n in model.graph.node if n.name == node)
    lists = {
        a.name: list(helper.get_attribute_value(a))
        for a in found.attribute
        if isinstance(helper.get_attribute_value(a), list)
    }
    before = {name: list(values) for name, values in lists.items()}
    change(lists)
    assert lists != before, "nothing was spoiled"
    for attribute in [a for a in found.attribute if a.name in lists]:
        found.attribute.remove(attribute)
    found.attribute.extend(helper.make_attribute(n, v) for n, v in lists.items() if v)
    out: bytes = model.SerializeToString(deterministic=True)
    return out


def root_of(lists: Lists, tree: int = 3) -> int:
    """Where the root of a tree stands in the lists."""
    return lists["nodes_treeids"].index(tree)
