"""The fields that bodies of several routes share."""

from typing import Annotated

from msgspec import Meta

from cordum.services.gateway.call import Call

Word = Annotated[str, Meta(max_length=2048)]
Name = Annotated[str, Meta(max_length=256)]
Content = Annotated[str, Meta(max_length=2 * 1024 * 1024, description="A policy document, YAML")]
Acknowledgement = Annotated[
    bool, Meta(description="true: requests may get through that are stopped now; without it 409 and the differences")
]


def author_of(call: Call, named: str) -> str:
    """Whom a change is put down to in the documents; the audit log always names the caller."""
    return named.strip() or call.caller.name
