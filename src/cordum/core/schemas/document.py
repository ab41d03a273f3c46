"""A registered schema as text, held to bounds before anything is compiled."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from cordum.core.schemas.errors import BadSchemaError
from cordum.core.schemas.violation import path_of

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 20_000
MAX_PATTERNS: Final = 128
MAX_PATTERN: Final = 512  # characters
MAX_URL: Final = 1024  # characters

DRAFTS: Final = frozenset(
    {
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema",
        "http://json-schema.org/draft-06/schema",
        "http://json-schema.org/draft-04/schema",
    }
)
"""The languages we read; 2020-12 when a document names none."""

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+", re.IGNORECASE)

Schema = dict[str, object] | bool
Step = str | int


class SchemaDocument(msgspec.Struct, frozen=True):
    """A schema within bounds.

    Attributes:
        url: its `$id` when that is absolute: what other schemas refer to it by; "" for none.
    """

    root: Schema
    url: str = ""


def read_document(text: bytes) -> SchemaDocument:
    """The schema in a JSON text.

    Raises:
        BadSchemaError: it is no JSON, no schema, or larger, deeper or more intricate than we check payloads against.
    """
    if len(text) > MAX_BYTES:
        raise BadSchemaError(f"the schema is larger than {MAX_BYTES} bytes")
    try:
        root: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadSchemaError("the schema is not JSON") from None
    except RecursionError:
        raise BadSchemaError(f"the schema is nested deeper than {MAX_DEPTH} levels") from None
    if isinstance(root, bool):
        return SchemaDocument(root)
    if not isinstance(root, dict):
        raise BadSchemaError("a schema is an object, true or false")
    _demand_bounded(root)
    return SchemaDocument(root, _url_of(root))


def _url_of(root: Mapping[str, object]) -> str:
    named = root.get("$id", root.get("id") if "draft-04" in str(root.get("$schema", "")) else None)
    if not isinstance(named, str):
        return ""
    url = named.partition("#")[0]
    if len(url) > MAX_URL:
        raise BadSchemaError(f"is longer than {MAX_URL} characters", "$.$id")
    return url if _URL.fullmatch(url) else ""


def _demand_bounded(root: dict[str, object]) -> None:
    nodes = patterns = 0
    for steps, value in _walk(root):
        nodes += 1
        if nodes > MAX_NODES:
            raise BadSchemaError(f"the schema has more than {MAX_NODES} parts")
        if len(steps) > MAX_DEPTH:
            raise BadSchemaError(f"the schema is nested deeper than {MAX_DEPTH} levels", path_of(steps))
        if not isinstance(value, dict):
            continue
        draft = value.get("$schema")
        if isinstance(draft, str) and draft.rstrip("#") not in DRAFTS:
            known = ", ".join(sorted(DRAFTS))
            raise BadSchemaError(f"is none of the schema languages {known}", f"{path_of(steps)}.$schema")
        found = [text for text in (value.get("pattern"),) if isinstance(text, str)]
        if isinstance(by_pattern := value.get("patternProperties"), dict):
            found.extend(str(text) for text in by_pattern)
        patterns += len(found)
        if patterns > MAX_PATTERNS:
            raise BadSchemaError(f"the schema has more than {MAX_PATTERNS} patterns")
        if any(len(text) > MAX_PATTERN for text in found):
            raise BadSchemaError(f"a pattern is longer than {MAX_PATTERN} characters", path_of(steps))


def _walk(root: object) -> Iterator[tuple[tuple[Step, ...], object]]:
    """Every value of the document with the steps that lead to it."""
    waiting: list[tuple[tuple[Step, ...], object]] = [((), root)]
    while waiting:
        steps, value = waiting.pop()
        yield steps, value
        if isinstance(value, dict):
            waiting.extend(((*steps, str(name)), item) for name, item in value.items())
        elif isinstance(value, list):
            waiting.extend(((*steps, at), item) for at, item in enumerate(value))
