"""No token but the one that was signed is believed."""

import string

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from cordum.core.ids import TenantId
from cordum.core.sessions import SKEW, Claims, SessionKeys, Signer, TokenFault, TokenType, mint, verify

NOW = 1_800_000_000
OURS = Signer(Ed25519PrivateKey.from_private_bytes(b"1" * 32), "ours")
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(b"2" * 32), "other")
KEYS = SessionKeys.of({"other": OTHER.public_key}, OURS)

words = st.text(alphabet=string.ascii_letters + string.digits + "-_.:/@", min_size=1, max_size=40)
kinds = st.sampled_from(TokenType)
claim_sets = st.builds(
    lambda sub, tenant, jti, start, life, sdk: Claims(
        sub=sub, tenant=TenantId(tenant), jti=f"{jti:032x}", iat=NOW - start, exp=NOW - start + life, sdk_ver=sdk
    ),
    words,
    words,
    st.integers(min_value=0, max_value=16**32 - 1),
    st.integers(min_value=0, max_value=50),
    st.integers(min_value=60, max_value=86_400),
    st.text(max_size=40),
)


@given(kinds, claim_sets)
def test_what_is_minted_is_read_back(kind: TokenType, claims: Claims) -> None:
    assert verify(mint(OURS, kind, claims), kind, KEYS, NOW) == claims


@given(kinds, claim_sets, st.data())
def test_no_flipped_bit_passes(kind: TokenType, claims: Claims, data: st.DataObject) -> None:
    token = bytearray(mint(OURS, kind, claims).encode())
    at = data.draw(st.integers(min_value=0, max_value=len(token) - 1))
    token[at] ^= data.draw(st.integers(min_value=1, max_value=255))
    assert isinstance(verify(token.decode("latin-1"), kind, KEYS, NOW), TokenFault)


@given(claim_sets, claim_sets)
def test_no_part_of_one_token_fits_another(claims: Claims, others: Claims) -> None:
    assume(claims != others)
    first, second = mint(OURS, TokenType.SESSION, claims).split("."), mint(OTHER, TokenType.SERVICE, others).split(".")
    for at in range(3):
        mixed = [second[i] if i == at else first[i] for i in range(3)]
        for kind in TokenType:
            assert isinstance(verify(".".join(mixed), kind, KEYS, NOW), TokenFault)


@given(claim_sets, st.integers(min_value=0, max_value=10_000_000))
def test_nothing_is_believed_after_its_time(claims: Claims, late: int) -> None:
    token = mint(OURS, TokenType.SESSION, claims)
    assert verify(token, TokenType.SESSION, KEYS, claims.exp + SKEW + late) is TokenFault.EXPIRED


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_no_text_brings_it_down(text: str) -> None:
    assert isinstance(verify(text, TokenType.SESSION, KEYS, NOW), TokenFault)
