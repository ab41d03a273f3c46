"""Session tokens: what a worker gets for its trust handshake and shows with everything it says (spec-scheduler 11.4).

`mint` makes a token, `verify` answers its claims or why it does not hold. Pure: keys, time and ids are handed in.
"""

from cordum.core.sessions.claims import Claims, TokenType
from cordum.core.sessions.keys import SessionKeys, Signer, kid_of
from cordum.core.sessions.token import (
    MAX_TOKEN_LENGTH,
    SKEW,
    SessionError,
    TokenFault,
    is_session_shaped,
    mint,
    verify,
)

__all__ = [
    "MAX_TOKEN_LENGTH",
    "SKEW",
    "Claims",
    "SessionError",
    "SessionKeys",
    "Signer",
    "TokenFault",
    "TokenType",
    "is_session_shaped",
    "kid_of",
    "mint",
    "verify",
]
