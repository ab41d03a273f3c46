"""Words and places that several parts of the language share."""

from collections.abc import Mapping

from cordum.core.policy.decision import Decision
from cordum.core.policy.glob import BadGlobError, compile_glob
from cordum.core.policy.reading import Reader, join
from cordum.core.policy.yaml_tree import Node

DECISION_WORDS = {
    "allow": Decision.ALLOW,
    "permit": Decision.ALLOW,
    "deny": Decision.DENY,
    "block": Decision.DENY,
    "require_approval": Decision.REQUIRE_APPROVAL,
    "require-approval": Decision.REQUIRE_APPROVAL,
    "require_human": Decision.REQUIRE_APPROVAL,
    "allow_with_constraints": Decision.ALLOW_WITH_CONSTRAINTS,
    "allow-with-constraints": Decision.ALLOW_WITH_CONSTRAINTS,
    "throttle": Decision.THROTTLE,
}

_RULES_MATCH = "rules[].match"
_CONTENT = "input_rules[].match or output_rules[].match"
BELONGS: Mapping[str, str] = {
    **dict.fromkeys(("keywords", "scanners", "detectors", "content_patterns", "content_types"), _CONTENT),
    **dict.fromkeys(("input_size_gt", "max_input_bytes", "scope"), "input_rules[].match"),
    **dict.fromkeys(("output_size_gt", "max_output_bytes", "has_error"), "output_rules[].match"),
    **dict.fromkeys(
        (
            "requires",
            "pack_ids",
            "actor_ids",
            "actor_types",
            "labels",
            "label_allowlist",
            "label_threshold",
            "secrets_present",
            "agent_risk_tiers",
            "agent_data_classifications",
            "predicate",
            "delegation",
            "topics",
            "capabilities",
            "risk_tags",
        ),
        _RULES_MATCH,
    ),
    "mcp": f"{_RULES_MATCH} or tenants.<id>",
    "match": "rules[], input_rules[] or output_rules[]",
    "decision": "rules[], input_rules[] or output_rules[]",
    **dict.fromkeys(("velocity", "constraints", "remediations", "approval", "throttle"), "rules[]"),
    **dict.fromkeys(("severity", "enabled"), "input_rules[] or output_rules[]"),
    **dict.fromkeys(("allow_topics", "deny_topics", "max_concurrent_jobs"), "tenants.<id>"),
    **dict.fromkeys(("fail_mode",), "input_policy or output_policy"),
    "max_scan_bytes": "input_policy",
    **dict.fromkeys(
        ("default_decision", "default_tenant", "combine", "require_human", "tests", "tenants", "input_rules"),
        "the top of the document",
    ),
}
"""Where a key belongs that stands in the wrong section."""


class Words(Reader):
    """Fields that have the same shape wherever they stand."""

    def optional(self, fields: Mapping[str, Node], name: str, path: str) -> str:
        """A text field, or "" without one."""
        return self.optional_text(fields[name], join(path, name)) if name in fields else ""

    def lists(self, fields: Mapping[str, Node], name: str, path: str) -> tuple[str, ...]:
        """A list of texts, or nothing."""
        return self.texts(fields[name], join(path, name)) if name in fields else ()

    def flag(self, fields: Mapping[str, Node], name: str, path: str) -> bool | None:
        """true or false, or None without the field."""
        return self.truth(fields[name], join(path, name)) if name in fields else None

    def patterns(self, fields: Mapping[str, Node], name: str, path: str) -> tuple[str, ...]:
        """A list of globs."""

        def pattern(node: Node, here: str) -> str:
            return self.glob(node, here, self.filled_text(node, here))

        return tuple(self.items(fields[name], join(path, name), pattern)) if name in fields else ()

    def glob(self, node: Node, path: str, text: str) -> str:
        """The text, after noting a fault when it is no good glob."""
        try:
            compile_glob(text)
        except BadGlobError as error:
            self.fault(node, path, f'bad pattern "{text}": {error}')
        return text

    def exact_names(self, fields: Mapping[str, Node], name: str, path: str) -> tuple[str, ...]:
        """A list of names that are compared as they are: a star in one would never match anything."""

        def exact(node: Node, here: str) -> str:
            text = self.filled_text(node, here)
            if "*" in text:
                self.fault(node, here, f'"{text}": patterns are not supported here, only exact names')
            return text

        return tuple(self.items(fields[name], join(path, name), exact)) if name in fields else ()

    def id_of(self, fields: Mapping[str, Node], path: str, kind: str) -> tuple[str, bool]:
        """A rule's id, and whether its author gave it; without one it is called by its place."""
        given = self.optional(fields, "id", path).strip()
        position = int(path.rpartition("[")[2].rstrip("]")) + 1
        return given or f"{kind}-{position}", bool(given)

    def unique(self, nodes: Node | None, path: str, ids: list[tuple[str, int]]) -> None:
        """Notes a fault for each id (with its line) that was there before."""
        first_line: dict[str, int] = {}
        for index, (id_, line) in enumerate(ids):
            if id_ in first_line and nodes is not None:
                node = getattr(nodes, "items", [nodes] * len(ids))[index]
                known = first_line[id_]
                self.fault(node, f"{path}[{index}].id", f'"{id_}" is also the id of the rule in line {known}')
            first_line.setdefault(id_, line)
