"""What a topic's input schema is about (spec-scheduler 8.2 step 6).

The worker reads the document behind the job's context pointer. Where that has a `context`, as every job has that was
submitted with one, the schema is about it; else about the document itself, as workflow steps and jobs straight from the
bus write it.
"""

import msgspec


class _Enveloped(msgspec.Struct):
    context: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


_DECODER = msgspec.json.Decoder(_Enveloped)


def payload_of(document: bytes) -> bytes:
    """The JSON that is checked, of a document `ctx:<id>`; the document as it is when it is no JSON object."""
    try:
        context = bytes(_DECODER.decode(document).context)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return document
    return context if context and context != b"null" else document
