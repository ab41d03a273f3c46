"""`GET /api/v1/openapi.json`: the document, rendered once."""

import msgspec

from cordum.services.gateway.answer import Answer
from cordum.services.gateway.call import Call
from cordum.services.gateway.parts import Parts

_rendered: Answer | None = None


async def show_document(parts: Parts, call: Call) -> Answer:
    """The OpenAPI document of what this gateway serves."""
    global _rendered
    if _rendered is None:
        # The table names this handler, so the table can only be asked for once it is complete.
        from cordum.services.gateway.openapi import document
        from cordum.services.gateway.routes import ROUTES

        _rendered = Answer(msgspec.json.encode(document(ROUTES)))
    return _rendered
