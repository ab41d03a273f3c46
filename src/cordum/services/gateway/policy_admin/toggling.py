"""Switching one output rule in the text of its document: the author's words, order and comments stay as they are.

Writing a document out again from what was read would lose all that, and once produced text its own grammar refused
(spec-safety W11). The result is read again, and must say the same as before but for this one word.
"""

import re
from typing import Final

import msgspec

from cordum.core.errors import CordumError
from cordum.core.policy import yaml_tree
from cordum.core.policy.document import OutputRule, PolicyDocument
from cordum.core.policy.errors import PolicyError
from cordum.core.policy.parse import parse_policy
from cordum.core.policy.yaml_tree import Key, Mapping, Scalar, Sequence

_LINE_END: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What ends a line in YAML, by which its positions are counted."""


class NotToggleableError(CordumError):
    """The rule is written in a way in which it cannot be switched by itself."""

    code = "policy_rule_not_toggleable"


def toggled(content: str, rule_id: str, enabled: bool) -> str:
    """The document with `enabled` of the output rule `rule_id` set.

    Raises:
        NotToggleableError: there is no such rule, or its text is shared with another (an alias).
        PolicyError: the document cannot be read.
    """
    before = parse_policy(content.encode())
    if all(rule.id != rule_id or rule.enabled is enabled for rule in before.output_rules):
        return content
    text = _edited(content, _rule(content, rule_id), "true" if enabled else "false")
    try:
        after = parse_policy(text.encode())
    except PolicyError as error:
        raise NotToggleableError(f"the rule {rule_id} cannot be switched in place: {error.message}") from error
    if _but_for(after, "", enabled) != _but_for(before, rule_id, enabled):
        raise NotToggleableError(f"the text of rule {rule_id} belongs to more than this rule")
    return text


def _rule(content: str, rule_id: str) -> Mapping:
    root = yaml_tree.parse(content.encode())
    rules = root.keys["output_rules"].value if isinstance(root, Mapping) and "output_rules" in root.keys else None
    for node in rules.items if isinstance(rules, Sequence) else ():
        if isinstance(node, Mapping) and "id" in node.keys:
            name = node.keys["id"].value
            if isinstance(name, Scalar) and name.text.strip() == rule_id:
                return node
    raise NotToggleableError(f"no output rule {rule_id} is written out in this document")


def _edited(content: str, rule: Mapping, word: str) -> str:
    starts = [0, *(found.end() for found in _LINE_END.finditer(content))]

    def at(node: Mapping | Scalar | Key) -> int:
        return starts[node.line - 1] + node.column - 1

    if "enabled" in rule.keys:
        value = rule.keys["enabled"].value
        if not isinstance(value, Scalar) or not value.plain:
            raise NotToggleableError("`enabled` is not a plain word")
        place = at(value)
        return content[:place] + word + content[place + len(value.text) :]
    place = at(rule.keys["id"])
    # In front of the id: there it is a key of the same mapping, whatever stands after it.
    between = ", " if content.startswith("{", at(rule)) else "\n" + " " * (rule.keys["id"].column - 1)
    return f"{content[:place]}enabled: {word}{between}{content[place:]}"


def _but_for(document: PolicyDocument, rule_id: str, enabled: bool) -> PolicyDocument:
    """The document as far as it must not change: lines move, and this rule's word is what is wanted."""

    def plain(rule: OutputRule) -> OutputRule:
        wanted = enabled if rule.id == rule_id else rule.enabled
        return msgspec.structs.replace(rule, line=0, enabled=wanted)

    return msgspec.structs.replace(
        document,
        rules=tuple(msgspec.structs.replace(rule, line=0) for rule in document.rules),
        input_rules=tuple(msgspec.structs.replace(rule, line=0) for rule in document.input_rules),
        output_rules=tuple(plain(rule) for rule in document.output_rules),
        tests=tuple(msgspec.structs.replace(test, line=0) for test in document.tests),
    )
