"""How much work a schema can make: its size once every reference is written out.

Ten definitions that each refer to the one before twice are a thousand rules, thirty are a thousand million. A schema
like that is refused when it is registered, and where a payload goes wrong the faults are only listed if that is cheap.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final
from urllib.parse import unquote, urljoin

from cordum.core.schemas.document import Schema

MOST: Final = 1_000_000_000
"""Where counting stops."""

_IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
_IN_PLACE_BY_NAME: Final = ("dependentSchemas", "dependencies")
_DEEPER: Final = (
    *("additionalProperties", "propertyNames", "unevaluatedProperties"),
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
)
_DEEPER_BY_NAME: Final = ("properties", "patternProperties")
_REFS: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_ENDLESS: Final = 1 << 30


class Unfolding:
    """Counts the parts of a schema with all its references written out."""

    def __init__(self, root: Schema, base: str, others: Mapping[str, Schema]) -> None:
        """Takes the schema, the address its references are relative to, and the documents they may name."""
        self._root = root
        self._documents: dict[str, Schema] = {**others, base: root}
        self._base = base
        self._anchors: dict[str, dict[str, object]] = {}
        for url, document in self._documents.items():
            self._anchors[url] = dict(_anchors(document))

    def size(self) -> int:
        """Parts in all. What refers back to itself counts once: the engine remembers it per value."""
        return self._count(self._root, self._base, _ENDLESS, {}, set())

    def size_for(self, depth: int) -> int:
        """Parts that a payload of that many levels can meet, with recursion written out."""
        return self._count(self._root, self._base, depth, {}, set())

    def _count(
        self, node: object, base: str, depth: int, known: dict[tuple[int, int], int], above: set[tuple[int, int]]
    ) -> int:
        if not isinstance(node, dict) or depth < 0:
            return 1
        key = (id(node), depth)
        if key in known:
            return known[key]
        if key in above:
            return 1
        above.add(key)
        total = 1
        for ref in (node[name] for name in _REFS if isinstance(node.get(name), str)):
            target, where = self._target(str(ref), base)
            total += self._count(target, where, depth, known, above)
        parts = chain(_listed(node, _IN_PLACE), _named(node, _IN_PLACE_BY_NAME))
        total += sum(self._count(part, base, depth, known, above) for part in parts)
        below = depth - 1 if depth != _ENDLESS else depth
        parts = chain(_listed(node, _DEEPER), _named(node, _DEEPER_BY_NAME))
        total += sum(self._count(part, base, below, known, above) for part in parts)
        above.discard(key)
        known[key] = min(total, MOST)
        return known[key]

    def _target(self, ref: str, base: str) -> tuple[object, str]:
        url, _, fragment = urljoin(base, ref).partition("#") if base else ref.partition("#")
        document = self._documents.get(url)
        if document is None:
            # A part with an $id of its own, or one the engine will not find either.
            return self._anchors[self._base].get(url, True), base
        if not fragment:
            return document, url
        if fragment.startswith("/"):
            return _at(document, fragment), url
        return self._anchors.get(url, {}).get(fragment, True), url


def _listed(node: Mapping[str, object], names: Iterable[str]) -> Iterator[object]:
    """The schemas under keywords that take one schema or a list of them."""
    for name in names:
        value = node.get(name)
        if isinstance(value, list):
            yield from value
        elif isinstance(value, dict):
            yield value


def _named(node: Mapping[str, object], names: Iterable[str]) -> Iterator[object]:
    """The schemas under keywords that map names to them."""
    for name in names:
        if isinstance(value := node.get(name), dict):
            yield from value.values()


def _at(document: object, pointer: str) -> object:
    found = document
    for step in pointer.split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name, True)
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return True
    return found


def _anchors(document: object) -> Iterator[tuple[str, object]]:
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            for name in ("$anchor", "$dynamicAnchor", "$id", "id"):
                if isinstance(named := node.get(name), str):
                    yield named.lstrip("#"), node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
