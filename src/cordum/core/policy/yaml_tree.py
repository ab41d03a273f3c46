"""YAML as a tree with positions, for documents that must not surprise anybody.

Plain YAML 1.1 syntax without its type guessing: whether `no` is text or a truth value is for the reader of the field
to say. Refused: tags, merge keys, duplicate keys, keys that are not text, more than one document, and whatever is
larger, deeper or more often repeated than a policy can reasonably be.
"""

from collections.abc import Iterator

import msgspec
import yaml

from cordum.core.policy.errors import Fault, PolicyError

MAX_DEPTH = 32
MAX_NODES = 1_000_000
"""Counted with aliases expanded, so that a few repeated anchors cannot grow into gigabytes."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Scalar(msgspec.Struct, frozen=True, eq=False):
    """A text, number, truth value or nothing: `plain` says it stood without quotes."""

    line: int
    column: int
    text: str
    plain: bool

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in _NULLS


class Sequence(msgspec.Struct, frozen=True, eq=False):
    line: int
    column: int
    items: list["Node"]


class Key(msgspec.Struct, frozen=True, eq=False):
    """A key's own place, and its value."""

    line: int
    column: int
    value: "Node"


class Mapping(msgspec.Struct, frozen=True, eq=False):
    line: int
    column: int
    keys: dict[str, Key]


Node = Scalar | Sequence | Mapping


def parse(data: bytes) -> Node:
    """The one document in `data`. Raises PolicyError with the line and column of what cannot be read."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError([Fault(line, 1, "", "not UTF-8 text")]) from error
    try:
        return _Builder().build(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise PolicyError([Fault(line, column, "", f"not valid YAML: {error.problem or error.context}")]) from error
    except yaml.YAMLError as error:
        raise PolicyError([Fault(1, 1, "", f"not valid YAML: {error}")]) from error


class _Open:
    """A collection whose end has not been seen yet."""

    def __init__(self, node: Sequence | Mapping, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.size = 1
        self.key: Scalar | None = None


class _Builder:
    """Builds the tree from parser events, without recursion, so that depth is ours to limit."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._root: Node | None = None
        self._size = 0

    def build(self, events: Iterator[yaml.Event]) -> Node:
        documents = 0
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._start(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _fault(event, "only one document per file")
        if self._root is None:
            raise PolicyError([Fault(1, 1, "", "the document is empty")])
        return self._root

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        # A quoted scalar arrives with implicit (False, True), a plain one with (True, False); a tag clears both.
        if event.tag is not None:
            raise _fault(event, f"tags such as {event.tag} are not supported")
        node = Scalar(*_place(event), event.value, bool(event.implicit[0]))
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, 1)
        self._add(node, 1, event)

    def _alias(self, event: yaml.AliasEvent) -> None:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            raise _fault(event, f"*{event.anchor} refers to nothing complete before it")
        self._add(*known, event)

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise _fault(event, f"tags such as {event.tag} are not supported")
        if len(self._open) >= MAX_DEPTH:
            raise _fault(event, f"nested deeper than {MAX_DEPTH} levels")
        place = _place(event)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._open.append(_Open(Mapping(*place, {}) if is_mapping else Sequence(*place, []), event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.node, done.size)
        self._add(done.node, done.size, done.node)

    def _add(self, node: Node, size: int, at: yaml.Event | Node) -> None:
        """Puts a finished node where it belongs: into the innermost open collection, or at the root."""
        if not self._open:
            self._root = node
            return
        within = self._open[-1]
        within.size += size
        if within.size > MAX_NODES:
            raise _fault(at, f"more than {MAX_NODES} values, aliases expanded")
        if isinstance(within.node, Sequence):
            within.node.items.append(node)
        elif within.key is None:
            within.key = _key(node, within.node, at)
        else:
            key, within.key = within.key, None
            within.node.keys[key.text] = Key(key.line, key.column, node)


def _key(node: Node, mapping: Mapping, at: yaml.Event | Node) -> Scalar:
    if not isinstance(node, Scalar):
        raise _fault(at, "a key must be text")
    if node.plain and node.text == "<<":
        raise _fault(at, "merge keys (<<) are not supported")
    if node.text in mapping.keys:
        raise _fault(at, f'"{node.text}" is given twice (first in line {mapping.keys[node.text].line})')
    return node


def _place(at: yaml.Event | Node) -> tuple[int, int]:
    if isinstance(at, Scalar | Sequence | Mapping):
        return at.line, at.column
    mark = at.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _fault(at: yaml.Event | Node, message: str) -> PolicyError:
    return PolicyError([Fault(*_place(at), "", message)])
