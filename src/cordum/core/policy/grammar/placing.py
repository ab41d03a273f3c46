"""Where a rule is attached: its tier and selector, and those of the document it stands in (spec-safety 4.9)."""

from collections.abc import Mapping

import msgspec

from cordum.core.policy.document import EVERYWHERE, Selector, Tier
from cordum.core.policy.grammar.words import Words
from cordum.core.policy.reading import join
from cordum.core.policy.yaml_tree import Node

_TIERS = {tier.value: tier for tier in Tier}


class Place(msgspec.Struct, frozen=True):
    """A tier with its selector."""

    tier: Tier = Tier.GLOBAL
    selector: Selector = EVERYWHERE


ANYWHERE = Place()


class Placing(Words):
    """Reads tiers and selectors. `within` is the place of the document, which its rules share and cannot leave."""

    within: Place = ANYWHERE

    def place(self, fields: Mapping[str, Node], at: Node, path: str) -> Place:
        """The place of a rule or document; a contradiction is a fault."""
        within = self.within
        if "tier" not in fields and "selector" not in fields:
            return within
        tier = within.tier
        if "tier" in fields and self.optional(fields, "tier", path).strip():
            tier = self.word(fields["tier"], join(path, "tier"), _TIERS, within.tier)
        own = self._selector(fields["selector"], join(path, "selector")) if "selector" in fields else EVERYWHERE
        where = fields.get("selector", fields.get("tier", at))
        if tier is Tier.GLOBAL and within.tier is not Tier.GLOBAL:
            self.fault(where, join(path, "tier"), f"global, but the document is of tier {within.tier.value}")
            return within
        if within.tier is Tier.JOB and tier is Tier.WORKFLOW:
            self.fault(where, join(path, "tier"), "workflow, but the document is of tier job")
            return within
        for name in Selector.__struct_fields__:
            outer, inner = getattr(within.selector, name), getattr(own, name)
            if outer and inner and outer != inner:
                self.fault(where, f"{path}.selector.{name}", f'"{inner}", but the document is attached to "{outer}"')
        selector = Selector(**{n: getattr(own, n) or getattr(within.selector, n) for n in Selector.__struct_fields__})
        self._agree(tier, selector, where, path)
        return Place(tier, selector)

    def _agree(self, tier: Tier, selector: Selector, at: Node, path: str) -> None:
        one = bool(selector.job_id or selector.session_id)
        if tier is Tier.GLOBAL and selector != EVERYWHERE:
            self.fault(at, join(path, "selector"), "a selector needs `tier: workflow` or `tier: job` beside it")
        elif tier is Tier.WORKFLOW and not selector.workflow_id:
            self.fault(at, join(path, "tier"), "workflow needs selector.workflow_id")
        elif tier is Tier.WORKFLOW and one:
            self.fault(at, join(path, "selector"), "selects a job or session, which is `tier: job`, not workflow")
        elif tier is Tier.JOB and not one:
            self.fault(at, join(path, "tier"), "job needs selector.job_id or selector.session_id")

    def _selector(self, node: Node, path: str) -> Selector:
        fields = self.mapping(node, path, Selector.__struct_fields__)
        return Selector(**{name: self.optional(fields, name, path).strip() for name in fields})
