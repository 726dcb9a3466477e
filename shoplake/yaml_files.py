"""YAML files of a person's hand: small, plain, and with each key once.

YAML can do more than a settings file needs: by aliases a file of ten lines stands for millions of values, and of a key
that stands twice its own reader keeps the last in silence.
"""

from importlib.resources.abc import Traversable
from typing import Any

import yaml

from shoplake.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_VALUES = 100_000  # keys among them; what an alias stands for counts each time
# What PyYAML's constructors raise for a value that looks like a date, a number or a tag's and is none (2026-02-30).
_NO_VALUE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class _StrictLoader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Read a value, and refuse what is nested too deeply."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"it is nested more than {MAX_DEPTH} deep", self.get_mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping, and refuse a key that it has already."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no plain text", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _count(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Count a node's values, with those that its aliases stand for."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # what a node that is inside of itself meets
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        known[id(node)] = 1 + sum(_count(one, known) for part in parts
                                  for one in (part if isinstance(part, tuple) else (part,)))
    return known[id(node)]


def _load(text: str) -> Any:
    loader = _StrictLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MAX_VALUES:
            raise yaml.composer.ComposerError(
                None, None, f"with what its aliases (*name) stand for it has more than {MAX_VALUES:,} values",
                node.start_mark)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def read_yaml(file: Traversable) -> Any:
    """Read a file of one document, in UTF-8, of at most MAX_BYTES and MAX_VALUES.

    Raises:
        ConfigError: it cannot be read, is no such YAML, or has a key twice in one mapping.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {file}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{file} has more than {MAX_BYTES:,} bytes, which no settings file needs")
    try:
        return _load(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8: {error.reason} at byte {error.start:,}; save it as UTF-8") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{file} is no valid YAML: {error}") from error
    except _NO_VALUE as error:
        raise ConfigError(f"{file} is no valid YAML: a value is none of its kind: {error}. Text that looks like a date "
                          "or a number stands in quotes") from error
