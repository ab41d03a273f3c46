"""Bundle ids, in paths and in bodies."""

import re
from typing import Annotated, Final

from msgspec import Meta

from cordum.services.gateway.errors import invalid

EDITABLE: Final = "secops/"
"""Bundles that people write through the API; packs, workflows and velocity rules bring their own."""
VELOCITY: Final = "velocity/"

BundleName = Annotated[str, Meta(min_length=1, max_length=256)]
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*(?:/[A-Za-z0-9][A-Za-z0-9._:@-]*)*")


def bundle_id_of(text: str) -> str:
    """The id a caller means: `~` stands for `/`.

    Raises:
        ApiError: 400, no bundle can have this id.
    """
    name = text.strip().replace("~", "/")
    if not _ID.fullmatch(name) or len(name) > 256:
        raise invalid(
            "not a bundle id: parts of letters, digits, '.', '_', ':', '@' and '-', joined by / or ~",
            "invalid_bundle_id",
        )
    return name


def editable(bundle_id: str) -> str:
    """The id, if people may write the bundle. Raises ApiError 400."""
    if not bundle_id.startswith(EDITABLE):
        raise invalid(
            f"{bundle_id} is not written by hand: only bundles under {EDITABLE} are", "POLICY_BUNDLE_READ_ONLY"
        )
    return bundle_id
