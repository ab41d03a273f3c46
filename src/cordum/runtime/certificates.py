"""Certificates and keys as files: read, and checked to belong together."""

from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from cordum.core.errors import CordumError

_MAX_FILE: Final = 1024 * 1024  # bytes


class TlsError(CordumError):
    """A certificate, key or CA file cannot be used."""

    code = "tls_unusable"


class CertPair(msgspec.Struct, frozen=True):
    """A certificate (chain) and its private key, PEM, known to belong together. `expires_at` is in Unix seconds."""

    cert: bytes
    key: bytes
    expires_at: float

    def __repr__(self) -> str:
        return f"CertPair(expires_at={self.expires_at})"


def load_pair(cert: str, key: str) -> CertPair:
    """Reads a certificate and its key.

    Raises:
        TlsError: a file cannot be read or parsed, or the two do not belong together; the message names the file.
    """
    cert_pem, key_pem = _read(cert), _read(key)
    leaf = _certificates(cert, cert_pem)[0]
    try:
        private = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise TlsError(f"{key}: not a usable private key (PEM, not encrypted)") from error
    plain = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*plain) != leaf.public_key().public_bytes(*plain):
        raise TlsError(f"{key}: not the key of the certificate {cert}")
    return CertPair(cert_pem, key_pem, leaf.not_valid_after_utc.timestamp())


def check_ca(ca: str) -> None:
    """Makes sure that a CA file holds certificates.

    Raises:
        TlsError: it does not; the message names it.
    """
    _certificates(ca, _read(ca))


def check_chain(cert: str, ca: str) -> None:
    """Makes sure that a client certificate comes from the CA, directly or through certificates in its own file.

    Raises:
        TlsError: it does not, or a file cannot be used.
    """
    chain = _certificates(cert, _read(cert))
    roots = _certificates(ca, _read(ca))
    leaf, issuers = chain[0], chain[1:]
    for _ in range(len(chain)):
        if any(leaf == root or _issued(leaf, root) for root in roots):
            return
        parent = next((issuer for issuer in issuers if _issued(leaf, issuer)), None)
        if parent is None:
            break
        leaf = parent
    raise TlsError(f"{cert}: not issued by the CA in {ca}")


def _issued(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise TlsError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > _MAX_FILE:
        raise TlsError(f"{path}: too large for a certificate or key")
    return content


def _certificates(path: str, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise TlsError(f"{path}: no certificate (PEM) in it") from error
