"""Where a tensor came from, read off its autograd graph."""

from __future__ import annotations

from typing import Any


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
