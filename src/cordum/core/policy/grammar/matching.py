"""`rules[].match`: what a rule asks of a job (spec-safety 4.1)."""

from collections.abc import Mapping

from cordum.core.policy.decision import Decision
from cordum.core.policy.delegation import BadPredicateError, predicate_test
from cordum.core.policy.document import NO_LISTS, DelegationMatch, Match, McpLists, McpMatch
from cordum.core.policy.grammar.placing import Placing
from cordum.core.policy.grammar.words import BELONGS
from cordum.core.policy.reading import join
from cordum.core.policy.yaml_tree import Node, Scalar

_MATCH = Match.__struct_fields__
_MCP_FIELDS = ("servers", "tools", "resources", "actions")
_MCP = (*McpMatch.__struct_fields__, *McpLists.__struct_fields__)
_MCP_GATEWAY = dict.fromkeys(
    ("gateway_enabled", "upstream_servers", "allowed_upstreams"), "is set in the configuration of the MCP gateway"
)
_DELEGATION = DelegationMatch.__struct_fields__


class Matching(Placing):
    """Reads what rules match."""

    def match(self, node: Node, path: str, decision: Decision) -> Match:
        """The match of a rule that decides so."""
        elsewhere = {name: place for name, place in BELONGS.items() if name not in _MATCH}
        fields = self.mapping(node, path, _MATCH, elsewhere=elsewhere)
        return Match(
            tenants=self.lists(fields, "tenants", path),
            topics=self.patterns(fields, "topics", path),
            capabilities=self.lists(fields, "capabilities", path),
            risk_tags=self.lists(fields, "risk_tags", path),
            requires=self.lists(fields, "requires", path),
            pack_ids=self.lists(fields, "pack_ids", path),
            actor_ids=self.lists(fields, "actor_ids", path),
            actor_types=self._actor_types(fields, path),
            labels=self.text_pairs(fields["labels"], join(path, "labels")) if "labels" in fields else {},
            label_allowlist=self._allowlists(fields, path),
            label_threshold=self._thresholds(fields, path),
            secrets_present=self.flag(fields, "secrets_present", path),
            mcp=self._mcp(fields["mcp"], join(path, "mcp"), decision) if "mcp" in fields else None,
            agent_risk_tiers=self.lists(fields, "agent_risk_tiers", path),
            agent_data_classifications=self.lists(fields, "agent_data_classifications", path),
            predicate=self._predicate(fields, path),
            delegation=self._delegation(fields["delegation"], join(path, "delegation"))
            if "delegation" in fields
            else None,
        )

    def mcp_lists(self, fields: Mapping[str, Node], path: str) -> McpLists:
        """The lists that bound a tenant's MCP requests."""
        if "mcp" not in fields:
            return NO_LISTS
        path = join(path, "mcp")
        lists = self.mapping(fields["mcp"], path, McpLists.__struct_fields__, refused=_MCP_GATEWAY)
        return McpLists(**{name: self.exact_names(lists, name, path) for name in lists})

    def _mcp(self, node: Node, path: str, decision: Decision) -> McpMatch | None:
        """The condition; None when all its lists are empty, which asks nothing.

        The older spelling is read the way that is safe: what a rule that denies (or asks, or slows down) has under
        `deny_tools` is what it is about; a rule that allows is about everything else.
        """
        fields = self.mapping(node, path, _MCP, refused=_MCP_GATEWAY)
        lists: dict[str, tuple[str, ...]] = {}
        for name in _MCP_FIELDS:
            wanted = self.exact_names(fields, name, path) + self.exact_names(fields, f"allow_{name}", path)
            unwanted, denied = (
                self.exact_names(fields, f"not_{name}", path),
                self.exact_names(fields, f"deny_{name}", path),
            )
            if decision.permits:
                unwanted += denied
            elif denied and wanted:
                self.fault(
                    fields[f"deny_{name}"],
                    join(path, f"deny_{name}"),
                    f"says twice what a rule that restricts is about: list it under `{name}`, and nothing else",
                )
            else:
                wanted += denied
            lists |= {name: wanted, f"not_{name}": unwanted}
        return McpMatch(**lists) if any(lists.values()) else None

    def _predicate(self, fields: Mapping[str, Node], path: str) -> str:
        text = self.optional(fields, "predicate", path).strip()
        if text:
            try:
                predicate_test(text)
            except BadPredicateError as error:
                self.fault(fields["predicate"], join(path, "predicate"), f'"{text}" {error}')
        return text

    def _delegation(self, node: Node, path: str) -> DelegationMatch | None:
        fields = self.mapping(node, path, _DELEGATION)
        depth = fields.get("max_depth")
        nothing = depth is None or (isinstance(depth, Scalar) and depth.is_null)
        match = DelegationMatch(
            max_depth=None if depth is None or nothing else self.count(depth, join(path, "max_depth")),
            issuers=self.lists(fields, "issuers", path),
            require_issuer=self.optional(fields, "require_issuer", path).strip(),
            required_scope=self.lists(fields, "required_scope", path),
            forbid_delegated=self.flag(fields, "forbid_delegated", path) or False,
            delegation_required=self.flag(fields, "delegation_required", path) or False,
        )
        if match.forbid_delegated and match != DelegationMatch(forbid_delegated=True):
            self.fault(node, path, "forbid_delegated contradicts every other condition on the delegation")
        return None if match == DelegationMatch() else match

    def _actor_types(self, fields: Mapping[str, Node], path: str) -> tuple[str, ...]:
        words = {"human": "human", "service": "service"}

        def actor_type(node: Node, here: str) -> str:
            return self.word(node, here, words, "human")

        name = "actor_types"
        return tuple(self.items(fields[name], join(path, name), actor_type)) if name in fields else ()

    def _allowlists(self, fields: Mapping[str, Node], path: str) -> dict[str, tuple[str, ...]]:
        def allowed(node: Node, here: str) -> tuple[str, ...]:
            values = tuple(self.items(node, here, self.text))
            if not values:
                self.fault(node, here, "must name the allowed values")
            return values

        name = "label_allowlist"
        return self.named(fields[name], join(path, name), allowed) if name in fields else {}

    def _thresholds(self, fields: Mapping[str, Node], path: str) -> dict[str, float]:
        name = "label_threshold"
        return self.named(fields[name], join(path, name), self.number) if name in fields else {}
