"""Bundles as a document keeps them, their order, their snapshot id, and the manifest over all of them."""

import hashlib

import msgspec
import pytest

from cordum.core import signing
from cordum.core.policy import bundles
from cordum.core.policy.bundles import Bundle, BundleError, ManifestEntry

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-02-01T01:00:00+01:00"


def test_every_stored_form_is_read() -> None:
    found = bundles.read_bundles(
        {
            "bundles": {
                "secops/a": "rules: []",
                "secops/b": {"content": "b", "enabled": False, "author": "ann", "version": 3, "extra": 1},
                "packs/c": {"policy": "c", "installed_at": LATE, "sha256": "x"},
                "packs/d": {"data": {"rules": [], "version": "1"}, "installed_at": EARLY, "_signature": {"value": "v"}},
            }
        }
    )
    assert [bundle.id for bundle in found] == ["secops/a", "secops/b", "packs/d", "packs/c"]
    by_id = {bundle.id: bundle for bundle in found}
    assert by_id["secops/b"] == Bundle(id="secops/b", content="b", enabled=False, author="ann", version="3")
    assert by_id["packs/d"].content == '{"rules":[],"version":"1"}'
    assert by_id["packs/d"].signature == {"value": "v"}
    assert by_id["packs/c"].digest == hashlib.sha256(b"c").hexdigest()
    assert bundles.read_bundles({}) == ()
    assert bundles.read_bundles({"other": {"x": "y"}}, "other")[0].content == "y"
    assert bundles.read_bundles({"bundles": bundles.write_bundles(found)}) == found


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (["a"], "not an object of bundles"),
        ({"a": 7}, "bundle a: neither a text nor an object"),
        ({"a": None}, "bundle a: neither"),
        ({"a": {}}, "bundle a: no content, policy, data"),
        ({"a": {"content": 7}}, "bundle a: content is neither"),
        ({"a": {"content": "x", "enabled": "false"}}, "bundle a: enabled is neither true nor false"),
        ({"a": {"content": "x", "installed_at": "yesterday"}}, "bundle a: installed_at is not a time"),
        ({"a": {"content": "x", "author": 7}}, "bundle a: author is not a text"),
        ({"a": {"content": "x", "_signature": 7}}, "bundle a: _signature is neither"),
        ({"a": "\ud800"}, "bundle a: content is not UTF-8"),
        ({" ": "x"}, "not a bundle id"),
        ({"a\nb": "x"}, "not a bundle id"),
        ({"a" * 300: "x"}, "not a bundle id"),
    ],
)
def test_one_bundle_that_cannot_be_read_spoils_all(stored: object, said: str) -> None:
    """W10: never left out, for what it forbids would be allowed without it."""
    with pytest.raises(BundleError, match=said):
        bundles.read_bundles({"bundles": stored})


def test_the_oldest_installation_comes_first_and_the_id_decides_among_equals() -> None:
    made = [
        Bundle(id="b", content="", installed_at=EARLY),
        Bundle(id="a", content="", installed_at=EARLY),
        Bundle(id="z", content=""),
        Bundle(id="0", content="", installed_at=LATE),
        Bundle(id="1", content="", installed_at="2026-02-01T00:00:00"),
    ]
    assert [bundle.id for bundle in bundles.in_merge_order(made)] == ["z", "a", "b", "0", "1"]


def test_changes_give_new_content_take_out_and_put_last() -> None:
    stored = (
        Bundle(id="a", content="1", enabled=False, sha256="x", signature="s", author="ann"),
        Bundle(id="b", content="2", installed_at=LATE),
        Bundle(id="c", content="3"),
    )
    changed = bundles.with_changes(stored, {"a": "one", "b": "", "new": "n", "gone": ""})
    assert changed == (
        Bundle(id="a", content="one", author="ann"),
        Bundle(id="c", content="3"),
        Bundle(id="new", content="n"),
    )
    with pytest.raises(BundleError):
        bundles.with_changes((), {"\n": "x"})


def test_the_snapshot_is_of_id_and_content_of_what_is_enabled_and_of_an_unusual_order() -> None:
    one, two = Bundle(id="a", content="1"), Bundle(id="b", content="2")
    plain = bundles.bundles_snapshot([two, one])
    assert plain == "cfg:" + hashlib.sha256(b"a\x001b\x002").hexdigest()
    assert bundles.bundles_snapshot([one, two, Bundle(id="c", content="3", enabled=False)]) == plain
    assert bundles.bundles_snapshot([one, msgspec.structs.replace(two, author="x", installed_at=EARLY)]) == plain
    others = [
        [one],
        [one, msgspec.structs.replace(two, content="3")],
        [one, msgspec.structs.replace(two, id="c")],
        [msgspec.structs.replace(one, installed_at=EARLY), two],
    ]
    assert len({plain, *map(bundles.bundles_snapshot, others)}) == 5
    assert bundles.bundles_snapshot([]) == ""
    assert bundles.join_snapshot("1:ab", plain) == f"1:ab|{plain}"
    assert bundles.join_snapshot("", plain) == plain
    assert bundles.join_snapshot("1:ab", "") == "1:ab"


ALL = bundles.in_merge_order(
    [
        Bundle(id="secops/invariants", content="i"),
        Bundle(id="packs/p", content="p", installed_at=EARLY, enabled=False),
        Bundle(id="secops/x", content="x", installed_at=LATE),
    ]
)
MANIFEST = bundles.manifest_of(ALL, revision=7, created_at=1000.9, expires_at=2000)


def check(found: tuple[Bundle, ...], now: float = 1500, least: int = 0) -> None:
    bundles.check_manifest(MANIFEST, found, now=now, least_revision=least)


def test_a_manifest_fits_the_bundles_it_was_made_of() -> None:
    payload = bundles.manifest_payload(MANIFEST)
    assert bundles.read_manifest(payload) == MANIFEST
    check(ALL, least=7)
    check(tuple(reversed(ALL)))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (ALL[1:], "secops/invariants: listed in the manifest and not there"),
        ((*ALL, Bundle(id="new", content="n", installed_at="2027-01-01T00:00:00Z")), "new: not listed"),
        ((msgspec.structs.replace(ALL[0], content="j"), *ALL[1:]), "invariants: its content is not"),
        ((msgspec.structs.replace(ALL[0], enabled=False), *ALL[1:]), "invariants: enabled or disabled"),
        ((ALL[0], msgspec.structs.replace(ALL[1], enabled=True), ALL[2]), "packs/p: enabled or disabled"),
        ((msgspec.structs.replace(ALL[0], installed_at="2027-01-01T00:00:00Z"), *ALL[1:]), "in another place"),
    ],
    ids=["taken out", "added", "changed", "switched off", "switched on", "reordered"],
)
def test_a_manifest_notices_every_change(found: tuple[Bundle, ...], said: str) -> None:
    """W12: a signature over the content alone notices none of these but one."""
    with pytest.raises(BundleError, match=said):
        check(found)


def test_a_manifest_that_was_put_back_or_has_expired_is_refused() -> None:
    with pytest.raises(BundleError, match="revision 7, but 8"):
        check(ALL, least=8)
    with pytest.raises(BundleError, match="expired"):
        check(ALL, now=2000)


def test_a_manifest_survives_the_document_and_its_signature_is_of_nothing_else() -> None:
    key = signing.generate(signing.Algorithm.ED25519)
    payload = bundles.manifest_payload(MANIFEST)
    signature = signing.sign(bundles.signed_manifest_bytes(payload), key)
    stored = {"manifest": bundles.write_manifest(payload, signature.as_dict())}
    found = bundles.read_signed_manifest(msgspec.json.decode(msgspec.json.encode(stored)))
    assert found is not None
    signing.verify(signing.public_key_of(key), found.signed_bytes(), found.signature)
    # Whoever may have a bundle signed may not thereby have a manifest signed.
    with pytest.raises(signing.SignatureError):
        signing.verify(signing.public_key_of(key), payload.encode(), found.signature)
    assert bundles.read_signed_manifest({}) is None
    assert bundles.read_signed_manifest({"manifest": None}) is None


@pytest.mark.parametrize("stored", [7, "text", {}, {"payload": 7}, {"payload": "x", "_signature": 7}])
def test_what_is_no_manifest(stored: object) -> None:
    with pytest.raises(BundleError, match="manifest"):
        bundles.read_signed_manifest({"manifest": stored})


@pytest.mark.parametrize(
    "payload", ["", "{}", '{"revision": "x"}', '{"revision":1,"created_at":1,"bundles":{},"surprise":1}']
)
def test_a_payload_that_is_no_manifest(payload: str) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        bundles.read_manifest(payload)


def test_an_entry_says_all_that_counts() -> None:
    assert MANIFEST.bundles["packs/p"] == ManifestEntry(hashlib.sha256(b"p").hexdigest(), False, 1)
