"""Spellings that are read for the sake of old files, and better written otherwise."""

from collections.abc import Iterator

from cordum.core.policy.analysis.note import Kind, Level, Note
from cordum.core.policy.document import PolicyDocument
from cordum.core.policy.yaml_tree import Mapping, Node, Sequence


def old_spellings(tree: Node, document: PolicyDocument) -> Iterator[Note]:
    """MCP lists of rules in the old form: `deny_tools` once meant the opposite of what it says."""
    rules = tree.keys.get("rules") if isinstance(tree, Mapping) else None
    if rules is None or not isinstance(rules.value, Sequence):
        return
    for node, rule in zip(rules.value.items, document.rules, strict=False):
        mcp = _member(_member(node, "match"), "mcp")
        old = [name for name in (mcp.keys if isinstance(mcp, Mapping) else ()) if name.startswith(("allow_", "deny_"))]
        for name in old:
            new = name.partition("_")[2]
            message = f"match.mcp.{name} is the old form: write {new}, the {new} the rule is about"
            yield Note(kind=Kind.OLD_MCP_LIST, level=Level.WARNING, rule_id=rule.id, line=rule.line, message=message)


def _member(node: Node | None, name: str) -> Node | None:
    key = node.keys.get(name) if isinstance(node, Mapping) else None
    return None if key is None else key.value
