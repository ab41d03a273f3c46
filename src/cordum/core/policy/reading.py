"""Reads a YAML tree field by field and collects every fault with its place, instead of stopping at the first."""

import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from cordum.core.policy import yaml_tree
from cordum.core.policy.errors import Fault, PolicyError
from cordum.core.policy.yaml_tree import Node, Scalar

T = TypeVar("T")

MAX_FAULTS = 50
MAX_TEXT = 8192
"""Characters of one text."""
MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1

_INTEGER = re.compile(r"[0-9]{1,19}")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Reader:
    """Where the faults go. Every `read` method returns a usable default after noting a fault."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, at: Node | yaml_tree.Key, path: str, message: str) -> None:
        """Notes a fault; far too many of them end the reading."""
        self.faults.append(Fault(at.line, at.column, path, message))
        if len(self.faults) >= MAX_FAULTS:
            self.finish()

    def finish(self) -> None:
        """Raises PolicyError when there was any fault."""
        if self.faults:
            raise PolicyError(self.faults)

    def mapping(
        self,
        node: Node,
        path: str,
        known: Collection[str],
        *,
        refused: Mapping[str, str] | None = None,
        elsewhere: Mapping[str, str] | None = None,
    ) -> dict[str, Node]:
        """The fields of a mapping that are ours to read; null counts as empty.

        `refused` says of a key why it cannot be used; it is let pass when it says nothing. `elsewhere` says of a key
        where it belongs. Any other key is refused, with the nearest known one.
        """
        fields: dict[str, Node] = {}
        for name, key in self._keys(node, path).items():
            here = join(path, name)
            if name in known:
                fields[name] = key.value
            elif refused and name in refused:
                if not says_nothing(key.value):
                    self.fault(key, here, f"{name} {refused[name]}")
            elif elsewhere and name in elsewhere:
                self.fault(key, here, f'unknown key "{name}" here; it belongs to {elsewhere[name]}')
            else:
                self.fault(key, here, f'unknown key "{name}"{_did_you_mean(name, known)}')
        return fields

    def named(self, node: Node, path: str, read: Callable[[Node, str], T]) -> dict[str, T]:
        """A mapping whose keys are the author's own names; each value is read with its path."""
        return {name: read(key.value, f'{path}["{name}"]') for name, key in self._keys(node, path).items()}

    def items(self, node: Node, path: str, read: Callable[[Node, str], T]) -> list[T]:
        """Each item of a list, read with its path; null counts as empty."""
        if isinstance(node, Scalar) and node.is_null:
            return []
        if not isinstance(node, yaml_tree.Sequence):
            self.fault(node, path, "must be a list")
            return []
        return [read(item, f"{path}[{index}]") for index, item in enumerate(node.items)]

    def text(self, node: Node, path: str) -> str:
        """A text. A plain number or truth value is the text it was written as (`version: 1`, `env: no`)."""
        if not isinstance(node, Scalar) or node.is_null:
            self.fault(node, path, "must be text")
            return ""
        if len(node.text) > MAX_TEXT:
            self.fault(node, path, f"longer than {MAX_TEXT} characters")
        return node.text

    def optional_text(self, node: Node, path: str) -> str:
        """A text, or nothing."""
        return "" if isinstance(node, Scalar) and node.is_null else self.text(node, path)

    def filled_text(self, node: Node, path: str) -> str:
        """A text that is more than blanks."""
        text = self.text(node, path)
        if isinstance(node, Scalar) and not node.is_null and not text.strip():
            self.fault(node, path, "must not be empty")
        return text

    def texts(self, node: Node, path: str) -> tuple[str, ...]:
        """A list of texts, none of them empty."""
        return tuple(self.items(node, path, self.filled_text))

    def text_pairs(self, node: Node, path: str) -> dict[str, str]:
        """A mapping of texts."""
        return self.named(node, path, self.text)

    def count(self, node: Node, path: str, largest: int = MAX_INT32) -> int:
        """A whole number from 0 to `largest`."""
        if isinstance(node, Scalar) and node.plain and _INTEGER.fullmatch(node.text):
            number = int(node.text)
            if number <= largest:
                return number
        self.fault(node, path, f"must be a whole number from 0 to {largest}")
        return 0

    def number(self, node: Node, path: str) -> float:
        """A finite number."""
        if isinstance(node, Scalar) and node.plain:
            try:
                number = float(node.text)
            except ValueError:
                number = math.nan
            if math.isfinite(number):
                return number
        self.fault(node, path, "must be a number")
        return 0.0

    def truth(self, node: Node, path: str) -> bool:
        """true or false (YAML's yes, no, on and off as well)."""
        if isinstance(node, Scalar) and node.plain and node.text.lower() in _TRUTH:
            return _TRUTH[node.text.lower()]
        self.fault(node, path, "must be true or false")
        return False

    def word(self, node: Node, path: str, words: Mapping[str, T], otherwise: T) -> T:
        """One of the given words, in any case."""
        text = self.text(node, path).strip().lower()
        if text in words:
            return words[text]
        if isinstance(node, Scalar) and not node.is_null:
            allowed = ", ".join(words)
            self.fault(node, path, f'"{text}" is not one of: {allowed}{_did_you_mean(text, words)}')
        return otherwise

    def _keys(self, node: Node, path: str) -> dict[str, yaml_tree.Key]:
        if isinstance(node, yaml_tree.Mapping):
            return node.keys
        if not (isinstance(node, Scalar) and node.is_null):
            self.fault(node, path, "must be a mapping (key: value)")
        return {}


def says_nothing(node: Node) -> bool:
    """Whether a value has no effect: null, empty, false, switched off with `enabled: false`, or all of that inside."""
    if isinstance(node, Scalar):
        return node.is_null or (node.plain and _TRUTH.get(node.text.lower()) is False) or node.text == ""
    if isinstance(node, yaml_tree.Sequence):
        return not node.items
    switch = node.keys.get("enabled")
    if switch is not None and isinstance(switch.value, Scalar) and _TRUTH.get(switch.value.text.lower()) is False:
        return True
    return all(says_nothing(key.value) for key in node.keys.values())


def join(path: str, name: str) -> str:
    """The path of a field within `path`."""
    return f"{path}.{name}" if path else name


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
