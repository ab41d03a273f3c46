"""JSON Schemas as they are read, compiled and applied: what is refused, what is told, and what it may cost."""

import json
import time
from typing import Any

import pytest

from cordum.core.schemas import (
    BadSchemaError,
    CompiledSchema,
    MissingReferenceError,
    compile_schema,
    payload_of,
    read_document,
)
from cordum.core.schemas.compiled import MAX_PAYLOAD, MAX_SHOWN
from cordum.core.schemas.document import MAX_BYTES, MAX_PATTERN, MAX_PATTERNS
from cordum.core.schemas.violation import LONGEST_PATH, path_of


def compiled(schema: object, **others: object) -> CompiledSchema:
    documents = {f"https://x/{name}": read_document(json.dumps(other).encode()) for name, other in others.items()}
    return compile_schema(read_document(json.dumps(schema).encode()), documents)


def told(schema: object, payload: object, **others: object) -> list[tuple[str, str]]:
    found = compiled(schema, **others).violations(json.dumps(payload).encode())
    return [(violation.path, violation.message) for violation in found]


def test_a_payload_that_matches_has_no_violations() -> None:
    assert told({"type": "object", "required": ["a"]}, {"a": 1}) == []
    assert told(True, None) == []
    assert told(False, None) != []


def test_violations_name_the_place_sorted_and_never_the_value() -> None:
    schema = {
        "properties": {"b": {"type": "integer"}, "a": {"enum": [1, 2]}, "odd name": {"minLength": 9}},
        "required": ["z"],
    }
    found = told(schema, {"b": "s3cret", "a": "s3cret", "odd name": "s3cret"})
    assert [path for path, _ in found] == ["$", "$.a", "$.b", '$["odd name"]']
    assert found[0][1] == '"z" is a required property'
    assert "s3cret" not in json.dumps(found)


def test_the_language_is_the_one_a_schema_names() -> None:
    tuples = {"items": [{"type": "integer"}, {"type": "string"}], "additionalItems": False}
    assert told({"$schema": "http://json-schema.org/draft-07/schema#", **tuples}, [1, "a", 2]) != []
    with pytest.raises(BadSchemaError):  # In 2020-12 `items` is one schema.
        compiled(tuples)
    with pytest.raises(BadSchemaError, match="none of the schema languages"):
        compiled({"$schema": "https://example.com/mine"})


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "objekt"}, "$.type"),
        ({"properties": {"a": {"minimum": "3"}}}, "$.properties.a.minimum"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "$.properties.a.pattern"),
        ({"pattern": r"(a)\1"}, "$.pattern"),
        ({"pattern": "(a{1000}){1000}"}, "$.pattern"),
        ({"pattern": "a" * (MAX_PATTERN + 1)}, "$"),
        ({"anyOf": [{"pattern": str(number)} for number in range(MAX_PATTERNS + 1)]}, "$"),
        ({"$ref": "#/$defs/none"}, "$"),
        ({"description": "x" * MAX_BYTES}, "$"),
    ],
)
def test_what_is_no_usable_schema_is_refused_with_its_place(schema: object, path: str) -> None:
    with pytest.raises(BadSchemaError) as caught:
        compiled(schema)
    assert caught.value.path == path


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"5", b"null", b"\xff", b'{"a":' * 5000 + b"1" + b"}" * 5000])
def test_what_is_no_schema_at_all_is_refused(text: bytes) -> None:
    with pytest.raises(BadSchemaError):
        read_document(text)


def test_a_schema_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"properties": {"a": schema}}
    with pytest.raises(BadSchemaError, match="deeper"):
        compiled(schema)


@pytest.mark.parametrize(
    "reference", ["https://example.com/a", "http://127.0.0.1:9/a", "file:///etc/passwd", "other.json", "urn:a:b"]
)
def test_references_lead_nowhere_but_to_registered_schemas(reference: str) -> None:
    with pytest.raises(MissingReferenceError) as caught:
        compiled({"properties": {"a": {"$ref": reference}}})
    assert caught.value.url == reference


def test_registered_schemas_are_referred_to_by_their_address() -> None:
    money = {"$id": "https://x/money", "$defs": {"amount": {"type": "integer"}}}
    order = {"$id": "https://x/order", "properties": {"price": {"$ref": "money#/$defs/amount"}}}
    assert told(order, {"price": "x"}, money=money) == [("$.price", 'value is not of type "integer"')]
    assert read_document(json.dumps(order).encode()).url == "https://x/order"
    assert read_document(b'{"$id": "order"}').url == ""


def test_a_schema_that_unfolds_without_end_is_refused() -> None:
    for word in ("anyOf", "allOf", "oneOf"):
        defs: dict[str, Any] = {"a0": {"type": "string"}}
        for number in range(1, 40):
            defs[f"a{number}"] = {word: [{"$ref": f"#/$defs/a{number - 1}"}] * 2}
        with pytest.raises(BadSchemaError, match="written out"):
            compiled({"$defs": defs, "$ref": "#/$defs/a39"})


def test_a_long_chain_of_references_is_refused() -> None:
    defs: dict[str, Any] = {f"a{number}": {"$ref": f"#/$defs/a{number + 1}"} for number in range(3000)}
    with pytest.raises(BadSchemaError):
        compiled({"$defs": {**defs, "a3000": {}}, "$ref": "#/$defs/a0"})


def test_recursion_is_allowed_and_listed_where_that_is_cheap() -> None:
    tree = {"required": ["v"], "properties": {"v": {"type": "integer"}, "kids": {"items": {"$ref": "#"}}}}
    found = told(tree, {"v": 1, "kids": [{"v": 2}, {"v": "x", "kids": [{}]}]})
    assert [path for path, _ in found] == ["$.kids[1].kids[0]", "$.kids[1].v"]
    branch = {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    forked = {"type": "object", "anyOf": [branch, branch]}
    payload: object = 1
    for _ in range(40):
        payload = {"a": payload}
    began = time.perf_counter()
    assert [path for path, _ in told(forked, payload)] == ["$"]
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "(.*)*x"])
def test_a_pattern_costs_no_more_than_its_text_is_long(pattern: str) -> None:
    began = time.perf_counter()
    told({"pattern": pattern}, "a" * 50_000 + "!")
    assert time.perf_counter() - began < 2


def test_a_large_payload_is_judged_and_not_listed() -> None:
    schema = compiled({"items": {"type": "string"}})
    assert len(schema.violations(json.dumps([1] * 300).encode())) == MAX_SHOWN
    [only] = schema.violations(json.dumps([1] * 200_000).encode())
    assert only.path == "$" and "too large" in only.message
    [only] = schema.violations(b'"' + b"x" * MAX_PAYLOAD + b'"')
    assert "larger" in only.message
    broad = compiled({"anyOf": [{"required": [str(number)]} for number in range(5_000)]})
    [only] = broad.violations(json.dumps([0] * 20_000).encode())
    assert "too many" in only.message


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b'"\\ud800"', b"[" * 100_000 + b"]" * 100_000])
def test_what_is_no_payload_is_a_violation(payload: bytes) -> None:
    [only] = compiled({}).violations(payload)
    assert only.path == "$"


def test_paths_are_short() -> None:
    assert path_of(["a", 3, "b-c", "d e"]) == '$.a[3].b-c["d e"]'
    assert len(path_of(["x" * 100] * 10)) == LONGEST_PATH


@pytest.mark.parametrize(
    ("document", "payload"),
    [
        (b'{"prompt": "x", "context": {"a": 1}}', b'{"a": 1}'),
        (b'{"prompt": "x", "context": [1]}', b"[1]"),
        (b'{"prompt": "x", "context": 0}', b"0"),
        (b'{"prompt": "x", "context": null}', b'{"prompt": "x", "context": null}'),
        (b'{"a": 1}', b'{"a": 1}'),
        (b"[1]", b"[1]"),
        (b"not json", b"not json"),
    ],
)
def test_the_payload_is_the_context_of_a_document_or_the_document(document: bytes, payload: bytes) -> None:
    assert payload_of(document) == payload
