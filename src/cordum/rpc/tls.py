"""TLS 1.3 as the floor for gRPC, which offers no setting for it.

gRPC's library speaks TLS 1.2 and 1.3 and lets only the 1.2 cipher suites be chosen, through the environment variable
GRPC_SSL_CIPHER_SUITES, read once, when the library is loaded. With a suite that needs a pre-shared key, which we never
configure, no TLS 1.2 handshake can succeed, and what is left is TLS 1.3.
"""

import os
import ssl
import sys

from cordum.core.errors import CordumError

_NO_TLS12 = "ECDHE-PSK-AES128-CBC-SHA"


class TlsFloorError(CordumError):
    """The oldest TLS version must be set before gRPC is loaded."""

    code = "tls_floor_late"


def set_floor(oldest: ssl.TLSVersion) -> None:
    """Makes every gRPC server and client of this process speak no TLS older than `oldest` (1.2 or 1.3).

    Call it before anything imports `grpc`; a process does it between reading its settings and importing its parts.

    Raises:
        TlsFloorError: gRPC is loaded already and would not notice.
    """
    if oldest < ssl.TLSVersion.TLSv1_3:
        return
    if "grpc" in sys.modules and os.environ.get("GRPC_SSL_CIPHER_SUITES") != _NO_TLS12:
        raise TlsFloorError
    os.environ["GRPC_SSL_CIPHER_SUITES"] = _NO_TLS12
