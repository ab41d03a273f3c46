"""Whether what a request buys, books or changes is within what its instruction asked for (spec-safety section 4.5).

The content is JSON with an instruction and a list of items; each intent the policy knows names the categories it may
touch. A request that cannot be read that way is a violation unless the policy says otherwise.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from cordum.core.output.finding import Finding, Severity

TYPE = "scope_violation"
MISSING = "content_required_but_missing"
_MOST_NAMED = 80


class Doubt(StrEnum):
    """What to do with a request of which the scope cannot tell."""

    DENY = "deny"
    ALLOW = "allow"


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """`allowed_categories`: intent to categories, where an empty list allows all. Paths are dotted JSON paths.

    `aliases` gives other words for an intent or a category.
    """

    instruction_path: str
    items_path: str
    category_path: str = "category"
    name_path: str = "name"
    allowed_categories: dict[str, tuple[str, ...]] = {}
    aliases: dict[str, str] = {}
    on_missing_input: Doubt = Doubt.DENY
    on_ambiguous: Doubt = Doubt.DENY


class ScopeTest:
    """A scope ready to be asked."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._aliases = {_plain(alias): _plain(meant) for alias, meant in scope.aliases.items()}
        self._allowed = {
            _plain(intent): frozenset(self._meant(category) for category in categories)
            for intent, categories in scope.allowed_categories.items()
        }
        self._words = {intent: intent for intent in self._allowed}
        self._words.update({alias: meant for alias, meant in self._aliases.items() if meant in self._allowed})

    def violation(self, content: bytes) -> Finding | None:
        """What is out of scope in this content; None when all of it is within. No content at all is missing input."""
        if not content:
            return self._missing(MISSING)
        try:
            body: object = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._missing("the content is not JSON")
        instruction = _at(body, self._scope.instruction_path)
        if not isinstance(instruction, str) or not instruction.strip():
            return self._missing(f"no instruction at {self._scope.instruction_path}")
        items = _at(body, self._scope.items_path)
        if items is None:
            return self._missing(f"no items at {self._scope.items_path}")
        intent = self._intent(_plain(instruction))
        if intent is None:
            if self._scope.on_ambiguous is Doubt.ALLOW:
                return None
            return _finding("the instruction names no intent, or several")
        return self._unlisted(items if isinstance(items, list) else [items], intent)

    def _intent(self, instruction: str) -> str | None:
        """The intent of the longest word contained; None when there is none, or two as long that differ."""
        found = [word for word in self._words if word and word in instruction]
        longest = max(map(len, found), default=0)
        meant = {self._words[word] for word in found if len(word) == longest}
        return meant.pop() if len(meant) == 1 else None

    def _unlisted(self, items: Sequence[object], intent: str) -> Finding | None:
        allowed = self._allowed[intent]
        if not allowed:
            return None
        for item in items:
            category = _at(item, self._scope.category_path)
            if not isinstance(category, str) or not category.strip():
                return _finding(f"an item has no category ({_name(item, self._scope.name_path)})")
            if self._meant(category) not in allowed:
                name = _name(item, self._scope.name_path)
                return _finding(f"category {_plain(category)[:_MOST_NAMED]} is not within {intent} ({name})")
        return None

    def _meant(self, category: str) -> str:
        plain = _plain(category)
        return self._aliases.get(plain, plain)

    def _missing(self, detail: str) -> Finding | None:
        return None if self._scope.on_missing_input is Doubt.ALLOW else _finding(detail)


def _finding(detail: str) -> Finding:
    return Finding(type=TYPE, severity=Severity.HIGH, detail=detail, scanner="scope")


def _plain(text: str) -> str:
    return text.strip().lower().replace("-", "_").replace(" ", "_")


def _at(body: object, path: str) -> object:
    """What stands at a dotted path (`order.items`, `items.0`); None when nothing does."""
    for step in path.split("."):
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(body):
            body = body[int(step[:9])]
        else:
            return None
    return body


def _name(item: object, path: str) -> str:
    name = _at(item, path)
    return name[:_MOST_NAMED] if isinstance(name, str) and name else "unnamed"
