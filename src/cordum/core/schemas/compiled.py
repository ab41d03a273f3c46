"""A schema ready to be applied (JSON Schema 2020-12, or the draft the document names).

Three things are bounded. Patterns run in an engine without backtracking, whose programs are small. References lead to
documents that were handed in, never to the network or a file. And the work is: the verdict costs at most the schema's
unfolded size times the payload's values, and the faults are only listed where that is cheap, because a list of faults
has to try every alternative.
"""

from collections.abc import Mapping
from typing import Final

import jsonschema_rs
import msgspec

from cordum.core.schemas.document import Schema, SchemaDocument
from cordum.core.schemas.errors import BadSchemaError, MissingReferenceError
from cordum.core.schemas.violation import Violation, path_of, shortened
from cordum.core.schemas.weight import Unfolding

MAX_UNFOLDED: Final = 20_000
"""Parts of a schema with its references written out."""
MAX_PAYLOAD: Final = 4 * 1024 * 1024
"""Bytes of a payload that are checked at all."""
MAX_WORK: Final = 50_000_000
"""Unfolded parts times values of the payload: about half a second."""
MAX_LISTING: Final = 200_000
"""The same where faults are listed, which is a hundred times as slow."""
MAX_SHOWN: Final = 20
"""Violations that are told."""

_PROGRAM: Final = 64 * 1024  # bytes of a compiled pattern
_CACHE: Final = 1024 * 1024  # bytes of its states seen so far
_MASK: Final = "value"
"""Stands in messages for what the payload holds there: it may be secret."""


class CompiledSchema:
    """One schema with everything it refers to."""

    def __init__(self, validator: jsonschema_rs.Validator, unfolding: Unfolding, size: int) -> None:
        self._validator = validator
        self._unfolding = unfolding
        self._size = size

    def violations(self, payload: bytes) -> tuple[Violation, ...]:
        """What is wrong with a payload of JSON, sorted, MAX_SHOWN at most; nothing when it matches."""
        if len(payload) > MAX_PAYLOAD:
            return _whole(f"is larger than the {MAX_PAYLOAD} bytes that are checked")
        values = 1 + payload.count(b",") + payload.count(b"[") + payload.count(b"{")
        if values * self._size > MAX_WORK:
            return _whole(f"holds {values} values, too many to be checked against a schema of {self._size} parts")
        try:
            value: object = msgspec.json.decode(payload)
            if self._validator.is_valid(value):
                return ()
            if not self._lists(payload, values):
                return _whole("does not match the schema; it is too large for its faults to be listed")
            found = {_violation(error) for error in self._validator.iter_errors(value)}
        except msgspec.DecodeError:
            return _whole("is not JSON")
        except RecursionError:
            return _whole("is nested too deeply")
        except ValueError:
            return _whole("cannot be checked: it holds text or numbers outside of JSON's")
        return tuple(sorted(found)[:MAX_SHOWN]) or _whole("does not match the schema")

    def _lists(self, payload: bytes, values: int) -> bool:
        return values * self._size <= MAX_LISTING and values * self._unfolding.size_for(_depth(payload)) <= MAX_LISTING


def compile_schema(document: SchemaDocument, others: Mapping[str, SchemaDocument]) -> CompiledSchema:
    """Makes a schema ready.

    Args:
        others: the documents it may refer to, by their URL.

    Raises:
        MissingReferenceError: it refers to one that is not among them.
        BadSchemaError: it is no schema, or a payload could make endless work of it.
    """
    roots: dict[str, Schema] = {url: other.root for url, other in others.items()}
    unfolding = Unfolding(document.root, document.url, roots)
    try:
        size = unfolding.size()
    except RecursionError:
        raise BadSchemaError("its references lead from one to the next too often") from None
    if size > MAX_UNFOLDED:
        raise BadSchemaError(f"with its references written out it has {size} parts; {MAX_UNFOLDED} are the most")
    missing: list[str] = []

    def retrieve(url: str) -> Schema:
        found = roots.get(url)
        if found is None:
            missing.append(url.removeprefix("json-schema:///"))
            raise LookupError(url)
        return found

    try:
        validator = jsonschema_rs.validator_for(
            document.root,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_PROGRAM, dfa_size_limit=_CACHE),
            mask=_MASK,
            retriever=retrieve,
        )
    except jsonschema_rs.ValidationError as error:
        if missing:
            raise MissingReferenceError(missing[0]) from None
        raise BadSchemaError(shortened(error.message), path_of(error.instance_path)) from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise BadSchemaError(shortened(str(error))) from None
    return CompiledSchema(validator, unfolding, size)


def _violation(error: jsonschema_rs.ValidationError) -> Violation:
    return Violation(path_of(error.instance_path), shortened(error.message))


def _whole(message: str) -> tuple[Violation, ...]:
    return (Violation("$", f"the payload {message}"),)


def _depth(payload: bytes) -> int:
    """At most so many levels has the payload: brackets in its texts count, too."""
    deepest = level = 0
    for byte in payload:
        if byte in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"]}":
            level -= 1
    return deepest
