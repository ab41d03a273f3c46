"""A set of requests: what each field may be, after some conditions were said to hold and others not to.

A region forgets what it cannot express (a condition it does not know narrows nothing), so it may be larger than the
truth. That an empty region holds no request is therefore certain; that the request it gives is of the kind wanted is
not, and must be seen on the evaluator.
"""

from collections.abc import Mapping

import msgspec

from cordum.core.policy.analysis.labels import Question, answer
from cordum.core.policy.analysis.topics import Group, topic_where

Body = dict[str, object]
"""A request in the shape of the HTTP PolicyCheck body."""


class One(msgspec.Struct, frozen=True):
    """A field with one value: among `allowed` (None: anything, nothing as well) and none of `refused`."""

    allowed: frozenset[str] | None = None
    refused: frozenset[str] = frozenset()

    def narrowed(self, allowed: frozenset[str]) -> "One":
        return One(allowed if self.allowed is None else self.allowed & allowed, self.refused)

    def without(self, refused: frozenset[str]) -> "One":
        return One(self.allowed, self.refused | refused)

    @property
    def is_possible(self) -> bool:
        return self.allowed is None or bool(self.allowed - self.refused)

    def value(self) -> str:
        """One it may have; empty when it may be absent."""
        if self.allowed is not None:
            return min(self.allowed - self.refused)
        return "" if "" not in self.refused else _fresh(self.refused)


class Tags(msgspec.Struct, frozen=True):
    """A field that is a set: it has all of `has`, none of `lacks`, one of each of `hits`, nothing outside `within` if
    that is given, and for each of `beyond` something that is not in it."""

    has: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    hits: frozenset[frozenset[str]] = frozenset()
    within: frozenset[str] | None = None
    beyond: frozenset[frozenset[str]] = frozenset()

    def joined(self, other: "Tags") -> "Tags":
        within = self.within if other.within is None else other.within
        if self.within is not None and other.within is not None:
            within = self.within & other.within
        return Tags(
            self.has | other.has, self.lacks | other.lacks, self.hits | other.hits, within, self.beyond | other.beyond
        )

    @property
    def is_possible(self) -> bool:
        if not self.has.isdisjoint(self.lacks) or not all(self._among(group) for group in self.hits):
            return False
        return self.within is None or (
            self.has <= self.within and all(self.within - self.lacks - listed for listed in self.beyond)
        )

    def value(self) -> frozenset[str]:
        """One it may have, with little in it."""
        found = set(self.has)
        for group in sorted(self.hits, key=lambda group: (len(group), sorted(group))):
            if group.isdisjoint(found):
                found.add(min(self._among(group)))
        for listed in sorted(self.beyond, key=lambda listed: (-len(listed), sorted(listed))):
            if found <= listed:
                found.add(
                    _fresh(self.lacks | listed) if self.within is None else min(self.within - self.lacks - listed)
                )
        return frozenset(found)

    def _among(self, group: frozenset[str]) -> frozenset[str]:
        return group - self.lacks if self.within is None else (group & self.within) - self.lacks


ANYTHING = One()
NAMELESS = frozenset({""})
NO_TAGS = Tags()


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """Requests about topics within `inside` and not in `outside`, whose other fields are as their parts say.

    Each method gives the region narrowed, or None when nothing is left. `topic` may raise TooHardError.
    """

    inside: frozenset[Group] = frozenset()
    outside: frozenset[str] = frozenset()
    ones: Mapping[str, One] = {}
    tags: Mapping[str, Tags] = {}
    labels: Mapping[str, tuple[Question, ...]] = {}

    def topic(self, inside: Group = (), outside: Group = ()) -> "Region | None":
        narrowed = msgspec.structs.replace(
            self, inside=self.inside | ({inside} if inside else set()), outside=self.outside | set(outside)
        )
        return None if topic_where(narrowed.inside, narrowed.outside) is None else narrowed

    def one(self, field: str, allowed: frozenset[str]) -> "Region | None":
        return self._with_one(field, self.ones.get(field, ANYTHING).narrowed(allowed))

    def not_one(self, field: str, refused: frozenset[str]) -> "Region | None":
        return self._with_one(field, self.ones.get(field, ANYTHING).without(refused))

    def tag(self, field: str, asked: Tags) -> "Region | None":
        new = self.tags.get(field, NO_TAGS).joined(asked)
        return msgspec.structs.replace(self, tags={**self.tags, field: new}) if new.is_possible else None

    def label(self, name: str, question: Question) -> "Region | None":
        asked = self.labels.get(name, ())
        if question in asked:
            return self
        asked = (*asked, question)
        possible, _ = answer(asked)
        return msgspec.structs.replace(self, labels={**self.labels, name: asked}) if possible else None

    def request(self, default_tenant: str) -> Body:
        """One of its requests, with as little in it as possible. Raises TooHardError."""
        labels = {name: value for name, asked in self.labels.items() if (value := answer(asked)[1]) is not None}
        one = {name: part.value() for name, part in self.ones.items()}
        meta: Body = {name: one[name] for name in ("actor_id", "actor_type", "capability", "pack_id") if one.get(name)}
        for name, part in self.tags.items():
            values = sorted(part.value())
            if name in LABEL_FIELDS:
                labels.update(zip(LABEL_FIELDS[name], values, strict=False))
            elif values:
                meta[name] = values
        tenant = self.ones.get("tenant", ANYTHING)
        if tenant.allowed is None:
            # A request always has a tenant, its own or the policy's default.
            one["tenant"] = default_tenant if default_tenant not in tenant.refused else tenant.without(NAMELESS).value()
        if one.get("workflow"):
            labels.setdefault("workflow_id", one["workflow"])
        body: Body = {
            "topic": topic_where(self.inside, self.outside) or "",
            "tenant": one.get("tenant") or default_tenant,
        }
        if labels:
            body["labels"] = dict(sorted(labels.items()))
        if meta:
            body["meta"] = dict(sorted(meta.items()))
        return body

    def _with_one(self, field: str, part: One) -> "Region | None":
        return msgspec.structs.replace(self, ones={**self.ones, field: part}) if part.is_possible else None


LABEL_FIELDS: dict[str, tuple[str, ...]] = {
    "server": ("mcp.server", "mcp_server", "mcpServer"),
    "tool": ("mcp.tool", "mcp_tool", "mcpTool"),
    "resource": ("mcp.resource", "mcp_resource", "mcpResource"),
    "action": ("mcp.action", "mcp_action", "mcpAction"),
    "job": ("policy.attachment_id",),
    "session": ("session_id", "edge.session_id"),
}
"""Sets that travel as labels, and the labels that say their values."""

EVERYTHING = Region()


def _fresh(taken: frozenset[str]) -> str:
    number = 1
    while (name := "other" if number == 1 else f"other-{number}") in taken:
        number += 1
    return name
