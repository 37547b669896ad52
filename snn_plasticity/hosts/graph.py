"""Where a tensor came from, read off its autograd graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def reaches(start: Any, nodes: Iterable[Any]) -> set[Any]:
    """Those autograd nodes that a tensor's node depends on, not looking behind any of them."""
    wanted, met, seen, todo = set(nodes), set(), set(), [start]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in wanted:
            met.add(node)
        else:
            todo += [parent for parent, _ in node.next_functions]
    return met


def leaves(start: Any) -> list[Any]:
    """The leaf tensors that a node depends on."""
    seen, todo, found = set(), [start], []
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        todo += [parent for parent, _ in node.next_functions]
    return found
