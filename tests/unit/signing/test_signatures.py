"""Keys and signatures in every form they may be written in."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from cordum.core import signing
from cordum.core.signing import Algorithm, BadKeyError, SignatureError, SignatureFault, TrustStore

DATA = b"version: s\nrules: [{id: r, decision: allow}]\n"
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


def p256_signature(data: bytes = DATA) -> bytes:
    return P256.sign(data, ec.ECDSA(hashes.SHA256()))


def envelope(algorithm: str, value: bytes, data: bytes = DATA, **more: object) -> bytes:
    body = {
        "algorithm": algorithm,
        "key_id": "k1",
        "value": base64.b64encode(value).decode(),
        "hash": hashlib.sha256(data).hexdigest(),
        "signed_bytes": len(data),
    }
    return json.dumps(body | more).encode()


P256_PEM = P256.public_key().public_bytes(PEM, SPKI).decode()
ED_RAW = ED.public_key().public_bytes_raw()


@pytest.mark.seed("S258")
@pytest.mark.parametrize(
    "text",
    [
        P256_PEM,
        P256_PEM.replace("\n", "\\n"),
        base64.b64encode(P256.public_key().public_bytes(DER, SPKI)).decode(),
        P256.public_key().public_bytes(DER, SPKI).hex(),
        P256.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint).hex(),
    ],
)
@pytest.mark.parametrize(
    "signed",
    [
        p256_signature(),
        base64.b64encode(p256_signature()),
        p256_signature().hex().encode() + b"\n",
        envelope("ecdsa-p256-sha256", p256_signature()),
    ],
)
def test_p256_keys_and_signatures_in_every_form(text: str, signed: bytes) -> None:
    key = signing.read_public_key(text)
    signing.verify(key, DATA, signed)
    with pytest.raises(SignatureError):
        signing.verify(key, DATA + b" ", signed)


@pytest.mark.seed("S258")
@pytest.mark.parametrize(
    "text",
    [
        ED.public_key().public_bytes(PEM, SPKI).decode(),
        base64.b64encode(ED_RAW).decode(),
        base64.b64encode(ED_RAW).decode().rstrip("="),
        ED_RAW.hex(),
        "ed25519:" + base64.b64encode(ED_RAW).decode(),
    ],
)
@pytest.mark.parametrize(
    "signed",
    [
        ED.sign(DATA),
        base64.b64encode(ED.sign(DATA)),
        base64.urlsafe_b64encode(ED.sign(DATA)).rstrip(b"="),
        ED.sign(DATA).hex().encode(),
        envelope("ed25519", ED.sign(DATA)),
        json.loads(envelope("ed25519", ED.sign(DATA))),
    ],
)
def test_ed25519_keys_and_signatures_in_every_form(text: str, signed: object) -> None:
    key = signing.read_public_key(text)
    signing.verify(key, DATA, signed)
    with pytest.raises(SignatureError):
        signing.verify(key, DATA + b" ", signed)


@pytest.mark.parametrize(
    ("signed", "fault"),
    [
        (b"", SignatureFault.UNSIGNED),
        (b"  \n", SignatureFault.UNSIGNED),
        (None, SignatureFault.UNSIGNED),
        (b"{not json", SignatureFault.MALFORMED),
        (b'{"algorithm": "ed25519"}', SignatureFault.MALFORMED),
        ({"algorithm": 7, "value": "x"}, SignatureFault.MALFORMED),
        (17, SignatureFault.MALFORMED),
        (b"x" * 20_000, SignatureFault.MALFORMED),
        ({"algorithm": "ed25519", "value": "x" * 20_000}, SignatureFault.MALFORMED),
        (b"x" * 64, SignatureFault.INVALID),
        (ed25519.Ed25519PrivateKey.generate().sign(DATA), SignatureFault.INVALID),
        (envelope("ecdsa", ED.sign(DATA)), SignatureFault.INVALID),
        (envelope("none", ED.sign(DATA)), SignatureFault.INVALID),
        (envelope("ed25519", ED.sign(DATA), signed_bytes=3), SignatureFault.INVALID),
        (envelope("ed25519", ED.sign(DATA), hash="00"), SignatureFault.INVALID),
        (envelope("ed25519", b"short"), SignatureFault.INVALID),
    ],
)
def test_what_is_not_a_signature_of_these_bytes(signed: object, fault: SignatureFault) -> None:
    with pytest.raises(SignatureError) as caught:
        signing.verify(ED.public_key(), DATA, signed)
    assert caught.value.fault is fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense!",
        "AAAA",
        "A" * 20_000,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(PEM, SPKI).decode(),
        ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(PEM, SPKI).decode(),
    ],
)
def test_public_keys_we_do_not_take(text: str) -> None:
    with pytest.raises(BadKeyError, match="cannot be used"):
        signing.read_public_key(text)


@pytest.mark.parametrize(
    "text",
    [
        ED.private_bytes(PEM, PKCS8, PLAIN).decode(),
        ED.private_bytes_raw().hex(),
        base64.b64encode(ED.private_bytes_raw() + ED_RAW).decode(),
        P256.private_bytes(PEM, PKCS8, PLAIN).decode(),
        base64.b64encode(P256.private_bytes(DER, PKCS8, PLAIN)).decode(),
    ],
)
def test_whoever_can_read_a_private_key_can_sign_with_it(text: str) -> None:
    key = signing.read_private_key(text)
    signed = signing.sign(DATA, key, "k1")
    assert (signed.key_id, signed.signed_bytes, signed.hash) == ("k1", len(DATA), hashlib.sha256(DATA).hexdigest())
    public = signing.public_key_of(key)
    for form in (signed, signing.encode(signed), signed.as_dict(), signed.value):
        signing.verify(public, DATA, form)
        with pytest.raises(SignatureError):
            signing.verify(public, DATA[:-1], form)


@pytest.mark.parametrize(
    "text",
    [
        "AAAA",
        (ED.private_bytes_raw() + bytes(32)).hex(),
        ED.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"word")).decode(),
        P256_PEM,
        rsa.generate_private_key(65537, 2048).private_bytes(PEM, PKCS8, PLAIN).decode(),
    ],
)
def test_private_keys_we_do_not_take_are_not_repeated(text: str) -> None:
    with pytest.raises(BadKeyError) as caught:
        signing.read_private_key(text)
    assert text not in caught.value.message


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_generated_key_survives_being_written(algorithm: Algorithm) -> None:
    key = signing.generate(algorithm)
    assert signing.algorithm_of(key) is algorithm
    again = signing.read_private_key(signing.private_text(key))
    public = signing.read_public_key(signing.public_text(signing.public_key_of(again)))
    signing.verify(public, DATA, signing.sign(DATA, key))
    assert signing.fingerprint(public) == signing.fingerprint(signing.public_key_of(key))
    assert signing.fingerprint(public) != signing.fingerprint(signing.public_key_of(signing.generate(algorithm)))


def test_a_key_from_a_seed_text_is_always_the_same() -> None:
    one, two = signing.from_seed_text("dev"), signing.from_seed_text("dev")
    assert signing.public_text(one.public_key()) == signing.public_text(two.public_key())
    raw = signing.read_private_key(hashlib.sha256(b"dev").hexdigest())
    assert signing.public_text(signing.public_key_of(raw)) == signing.public_text(one.public_key())


def store(**keys: str) -> TrustStore:
    return TrustStore.read(keys)


ED_TEXT, P256_TEXT = ED_RAW.hex(), P256_PEM


def test_the_id_in_a_signature_chooses_the_key_without_regard_to_its_spelling() -> None:
    trusted = store(OPS_2026=ED_TEXT, PACKS=P256_TEXT)
    assert trusted.key_ids == ("ops_2026", "packs")
    assert trusted.verify(DATA, signing.sign(DATA, ED, "ops-2026")) == "ops_2026"
    assert trusted.verify(DATA, signing.sign(DATA, P256, "Packs")) == "packs"
    assert trusted.verify(DATA, ED.sign(DATA)) == "ops_2026"
    with pytest.raises(SignatureError) as caught:
        trusted.verify(DATA, signing.sign(DATA, ED, "packs"))
    assert caught.value.fault is SignatureFault.INVALID


def test_a_key_nobody_trusts_is_called_so() -> None:
    with pytest.raises(SignatureError) as caught:
        store(OPS=ED_TEXT).verify(DATA, signing.sign(DATA, ED, "somebody"))
    assert caught.value.fault is SignatureFault.UNTRUSTED_KEY
    with pytest.raises(SignatureError) as caught:
        store().verify(DATA, signing.sign(DATA, ED, "ops"))
    assert caught.value.fault is SignatureFault.NO_TRUST_STORE


def test_a_key_without_an_id_is_tried_on_every_signature() -> None:
    trusted = TrustStore.read({"PACKS": P256_TEXT}, unnamed=ED_TEXT)
    assert trusted.verify(DATA, signing.sign(DATA, ED, "whatever")) == ""
    named = TrustStore.read({}, unnamed=ED_TEXT, unnamed_id="Ops")
    assert named.verify(DATA, signing.sign(DATA, ED, "ops")) == "ops"
    with pytest.raises(SignatureError, match="not trusted"):
        named.verify(DATA, signing.sign(DATA, ED, "other"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"OPS": "nonsense!"}, "CORDUM_POLICY_PUBLIC_KEY_OPS cannot be used"),
        ({"": ED_TEXT}, "not a key id"),
        ({"A-B": ED_TEXT, "a_b": P256_TEXT}, "given twice"),
        ({f"K{n}": ED_TEXT for n in range(70)}, "more than 64"),
    ],
)
def test_a_trust_store_says_which_key_is_bad(keys: dict[str, str], said: str) -> None:
    with pytest.raises(SignatureError, match=said) as caught:
        TrustStore.read(keys)
    assert caught.value.fault is SignatureFault.NO_TRUST_STORE


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("off", "off"),
        ("Disabled", "off"),
        ("0", "off"),
        ("none", "off"),
        ("warn", "warn"),
        ("WARNING", "warn"),
        ("enforce", "enforce"),
        ("strict", "enforce"),
        ("required", "enforce"),
        ("1", "enforce"),
        (" true ", "enforce"),
    ],
)
def test_words_for_strictness(text: str, meant: str) -> None:
    assert signing.parse_strictness(text) == meant


@pytest.mark.parametrize("text", ["", "enforced", "on", "2"])
def test_a_word_nobody_knows_is_no_strictness(text: str) -> None:
    with pytest.raises(ValueError, match="not one of off, disabled"):
        signing.parse_strictness(text)
