"""Switching an output rule changes one word of the text, or is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordum.core.policy.parse import parse_policy
from cordum.services.gateway.policy_admin.toggling import NotToggleableError, toggled


def enabled(text: str) -> dict[str, bool]:
    return {rule.id: rule.enabled for rule in parse_policy(text.encode()).output_rules}


WRITTEN = {
    "a block": "output_rules:\n  # why\n  - id: a   # its name\n    decision: redact\n  - id: b\n",
    "a block with the id last": "output_rules:\n- decision: redact\n  match: {keywords: [x]}\n  id: a\n- id: b\n",
    "a flow": "output_rules: [{id: a, decision: redact}, {id: b}]\n",
    "a flow over lines": "output_rules:\n  - {decision: redact,\n     id: a}\n  - {id: b}\n",
    "quoted": 'output_rules:\n  - "id": "a"\n    "decision": redact\n  - id: b\n',
    "said already": "output_rules:\n  - id: a\n    enabled: true # for now\n    decision: redact\n  - id: b\n",
    "said in a flow": "output_rules: [{enabled: yes, id: a}, {id: b, enabled: true}]\n",
    "letters of every width": "output_rules: [{reason: 'ÄÖÜ 漢字 🐟', id: a}, {id: b}]\n",
    "windows lines": "output_rules:\r\n  - id: a\r\n    decision: redact\r\n  - id: b\r\n",
    "json": '{"output_rules": [{"id": "a", "decision": "redact"}, {"id": "b"}]}',
}


@pytest.mark.parametrize("name", WRITTEN)
def test_only_the_one_rule_changes_and_comments_stay(name: str) -> None:
    text = WRITTEN[name]
    off = toggled(text, "a", False)
    assert enabled(off) == {"a": False, "b": True}
    assert enabled(toggled(off, "a", True)) == {"a": True, "b": True}
    for comment in ("# why", "# its name", "# for now"):
        assert (comment in off) is (comment in text)


def test_what_is_so_already_is_not_touched() -> None:
    assert toggled(WRITTEN["a block"], "a", True) == WRITTEN["a block"]
    assert toggled(WRITTEN["a block"], "unknown", False) == WRITTEN["a block"]


def test_a_text_shared_by_two_rules_is_not_switched_for_both() -> None:
    shared = "output_rules:\n  - id: a\n    match: {keywords: &x [k]}\n  - id: b\n    match: {keywords: *x}\n"
    assert enabled(toggled(shared, "b", False)) == {"a": True, "b": False}
    alias = "output_rules:\n  - id: a\n    enabled: &on true\n  - id: b\n    enabled: *on\n"
    for rule in ("a", "b"):
        try:
            assert enabled(toggled(alias, rule, False)) == {"a": rule != "a", "b": rule != "b"}
        except NotToggleableError:
            continue


def test_a_rule_without_an_id_of_its_own_is_not_switched() -> None:
    with pytest.raises(NotToggleableError):
        toggled("output_rules:\n  - decision: redact\n", parse_policy(b"output_rules: [{}]").output_rules[0].id, False)


@given(st.text(alphabet="ab:#'\"\\{}[]|>-\n\u2028é ", max_size=30), st.booleans())
def test_whatever_the_reason_says_the_rule_is_switched_or_the_text_refused(reason: str, flow: bool) -> None:
    quoted = "'" + reason.replace("'", "''").replace("\n", "\n\n") + "'"
    text = (
        f"output_rules: [{{reason: {quoted}, id: a}}, {{id: b}}]"
        if flow
        else f"output_rules:\n - reason: {quoted}\n   id: a\n - id: b\n"
    )
    try:
        before = enabled(text)
    except Exception:
        return
    try:
        after = enabled(toggled(text, "a", False))
    except NotToggleableError:
        return
    assert after == {**before, "a": False}
