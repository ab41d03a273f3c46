"""File paths no agent has business with."""

from typing import Final
from urllib.parse import unquote

_DECODINGS: Final = 4  # a path escaped more often than this is escaped to deceive

_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))}
)
_SYSTEM: Final = ("/dev/", "/proc/", "/sys/")
_CREDENTIAL_DIRECTORIES: Final = frozenset({".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".password-store"})
_CREDENTIAL_FILES: Final = frozenset(
    {
        ".env",
        ".git-credentials",
        ".htpasswd",
        ".netrc",
        ".npmrc",
        ".pgpass",
        ".pypirc",
        ".vault-token",
        "_netrc",
        "application_default_credentials.json",
        "credentials.json",
        "gshadow",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
        "id_rsa",
        "ntds.dit",
        "shadow",
        "sudoers",
    }
)
_CREDENTIAL_ENDINGS: Final = (".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk")


def fault(path: str) -> str:
    """Why a path may not be touched; "" when nothing is wrong with it.

    The path is judged as the most gullible reader would take it: percent-escapes undone, backslashes as separators,
    letter case ignored.
    """
    plain = path
    for _ in range(_DECODINGS):
        undone = unquote(plain, errors="replace")
        if undone == plain:
            break
        plain = undone
    else:
        return "the path is escaped again and again"
    if any(ord(character) < 32 or ord(character) == 127 for character in plain):
        return "the path holds a null byte or another control character"
    plain = plain.replace("\\", "/").lower()
    if plain.startswith("file:"):
        plain = "/" + plain[5:].lstrip("/")
    parts = [part.rstrip(" .") if part not in (".", "..") else part for part in plain.split("/")]
    if ".." in parts:
        return "the path leads out of its directory"
    if plain.startswith(("//./", "//?/")):
        return "the path is a device"
    whole = "/" + "/".join(part for part in parts if part not in ("", "."))
    if (plain.startswith("/") and f"{whole}/".startswith(_SYSTEM)) or any(
        part.partition(".")[0].partition(":")[0] in _DEVICES for part in parts
    ):
        return "the path is a device"
    if any(part in _CREDENTIAL_DIRECTORIES for part in parts) or _is_credential(parts[-1].partition(":")[0]):
        return "the path is a file of credentials"
    return ""


def _is_credential(name: str) -> bool:
    return name in _CREDENTIAL_FILES or name.startswith(".env.") or name.endswith(_CREDENTIAL_ENDINGS)
