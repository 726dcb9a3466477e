"""YAML in which a key stands once: of two, YAML's own reader keeps the last in silence."""

from typing import Any

import yaml


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping, and refuse a key that it has already."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """Read a document.

    Raises:
        yaml.YAMLError: it is none, or has a key twice in one mapping.
    """
    return yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader
