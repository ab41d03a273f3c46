"""`cordumctl policy keygen`, `sign` and `verify` (spec-safety section 6)."""

import base64
import os
from pathlib import Path

from cordum.cli import output
from cordum.cli.errors import FAILED, USAGE, UsageError
from cordum.cli.policy.files import read_bytes, write_private
from cordum.core.signing import (
    Algorithm,
    BadKeyError,
    PrivateKey,
    PublicKey,
    SignatureError,
    SignatureFault,
    encode,
    fingerprint,
    generate,
    private_text,
    public_key_of,
    public_text,
    read_private_key,
    read_public_key,
)
from cordum.core.signing import sign as sign_bytes
from cordum.core.signing import verify as verify_bytes

_ALGORITHMS = {"p256": Algorithm.ECDSA_P256, "ecdsa": Algorithm.ECDSA_P256, "ed25519": Algorithm.ED25519}
_FORMATS = ("json", "base64", "raw")


def keygen(out: Path, public: Path | None, algorithm: str, *, force: bool) -> None:
    """Writes a new key pair: the private key for its owner alone (0600). Raises UsageError rather than overwrite."""
    chosen = _ALGORITHMS.get(algorithm.lower())
    if chosen is None:
        raise UsageError(f"--algorithm {algorithm}: choose p256 or ed25519")
    public = public or out.with_suffix(".pub")
    if public == out:
        raise UsageError(f"--public {public}: the private key goes there")
    if public.exists() and not force:
        raise UsageError(f"{public} is there already", "--force overwrites it")
    key = generate(chosen)
    write_private(out, private_text(key), force=force)
    _write(public, public_text(public_key_of(key)).encode())
    output.print_fields(
        [
            ("private key", f"{out} (keep it secret)"),
            ("public key", str(public)),
            ("id", fingerprint(public_key_of(key))),
        ]
    )
    output.notice(f'the kernel trusts it with SAFETY_POLICY_PUBLIC_KEY="$(cat {public})"')


def sign(file: Path | None, out: Path | None, key: Path | None, key_env: str, key_id: str, format_: str) -> None:
    """Signs the file's exact bytes. Raises UsageError when there is no usable key."""
    if format_ not in _FORMATS:
        raise UsageError(f"--format {format_}: choose {', '.join(_FORMATS)}")
    source = _given(file)
    data = read_bytes(source)
    private = _private_key(key, key_env)
    signature = sign_bytes(data, private, key_id)
    raw = base64.b64decode(signature.value)
    written = {"json": encode(signature) + b"\n", "base64": signature.value.encode() + b"\n", "raw": raw}[format_]
    target = out or source.with_name(f"{source.name}.sig")
    _write(target, written)
    output.print_fields(
        [("signature", str(target)), ("algorithm", signature.algorithm), ("key", fingerprint(public_key_of(private)))]
    )


def verify(file: Path | None, sig: Path | None, public_key: Path | None, public_key_env: str) -> int:
    """Checks the signature and prints what came of it; gives the exit code: 0 it holds, 1 it does not. Raises
    UsageError (2) without a usable key."""
    source = _given(file)
    data = read_bytes(source)
    public = _public_key(public_key, public_key_env)
    sidecar = sig or source.with_name(f"{source.name}.sig")
    try:
        signature = sidecar.read_bytes() if sidecar.exists() else b""
        verify_bytes(public, data, signature)
    except SignatureError as error:
        output.notice(f"{source}: {error.message} ({error.fault.value})")
        return USAGE if error.fault is SignatureFault.NO_TRUST_STORE else FAILED
    except OSError as error:
        raise UsageError(f"{sidecar}: {error.strerror or error}") from error
    output.print_fields([("signed", str(source)), ("by", fingerprint(public))])
    return 0


def _given(file: Path | None) -> Path:
    if file is None:
        raise UsageError("which file?", "name it as FILE or with --in FILE")
    return file


def _private_key(file: Path | None, variable: str) -> PrivateKey:
    source, text = _key_text(file, variable, "--key")
    try:
        return read_private_key(text)
    except BadKeyError as error:
        raise UsageError(f"{source}: {error.message}") from error


def _public_key(file: Path | None, variable: str) -> PublicKey:
    source, text = _key_text(file, variable, "--public-key")
    try:
        return read_public_key(text)
    except BadKeyError as error:
        raise UsageError(f"{source}: {error.message}") from error


def _key_text(file: Path | None, variable: str, option: str) -> tuple[str, str]:
    if file is not None:
        return str(file), read_bytes(file).decode(errors="replace")
    text = os.environ.get(variable, "")
    if not text.strip():
        raise UsageError("there is no key", f"name its file with {option}, or set {variable}")
    return variable, text


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
