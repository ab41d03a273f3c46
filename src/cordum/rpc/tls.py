"""TLS 1.3 as the floor for gRPC, which offers no setting for it.

gRPC's library speaks TLS 1.2 and 1.3 and lets only the 1.2 cipher suites be chosen, through the environment variable
GRPC_SSL_CIPHER_SUITES, read once per process. With a suite that needs a pre-shared key, which we never configure, no
TLS 1.2 handshake can succeed, and what is left is TLS 1.3.
"""

import os

_NO_TLS12 = "ECDHE-PSK-AES128-CBC-SHA"


def require_tls13() -> None:
    """Makes every gRPC server and client of this process speak TLS 1.3 only; call it before the first of them."""
    os.environ["GRPC_SSL_CIPHER_SUITES"] = _NO_TLS12
