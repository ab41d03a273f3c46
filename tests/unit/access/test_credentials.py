"""What a request shows, told apart by its shape."""

import pytest

from cordum.core.access.credentials import CredentialKind, credential_of

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"


@pytest.mark.parametrize(
    ("authorization", "api_key", "kind", "secret"),
    [
        (None, None, CredentialKind.NONE, ""),
        (None, '  "key" ', CredentialKind.API_KEY, "key"),
        ("Bearer key", None, CredentialKind.API_KEY, "key"),
        ("bearer  key ", None, CredentialKind.API_KEY, "key"),
        ("Basic abc", None, CredentialKind.NONE, ""),
        ("Basic abc", "key", CredentialKind.API_KEY, "key"),
        ("Bearer ", "key", CredentialKind.API_KEY, "key"),
        ("Bearer first", "second", CredentialKind.API_KEY, "first"),
        (f"Bearer {JWT}", "key", CredentialKind.JWT, JWT),
        ("Bearer session-abc", None, CredentialKind.SESSION, "session-abc"),
        (None, "session-abc", CredentialKind.SESSION, "session-abc"),
        (None, "a.b.c", CredentialKind.API_KEY, "a.b.c"),
    ],
)
def test_a_credential_is_known_by_its_shape(
    authorization: str | None, api_key: str | None, kind: CredentialKind, secret: str
) -> None:
    found = credential_of(authorization, api_key)
    assert (found.kind, found.secret) == (kind, secret)
