"""From settings to servers, credentials and TLS."""

import pytest

from cordum.bus import BusSettingsError
from cordum.bus.endpoint import endpoint
from cordum.bus.nkey import UserKey
from cordum.runtime.settings import NatsSettings

SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def given(**fields: object) -> NatsSettings:
    return NatsSettings.model_validate(fields)


def test_several_servers_are_shown_without_their_credentials() -> None:
    target = endpoint(given(nats_url="nats://user:secret@one:4222, nats://two"))
    assert target.servers == ["nats://user:secret@one:4222", "nats://two"]
    assert target.shown == "nats://one:4222,nats://two:4222"


@pytest.mark.parametrize(
    "url", ["http://user:secret@host", "nats://", "nats://user:secret@:1", "nats://h:port", ",", "ws://h"]
)
def test_a_url_that_is_no_nats_server_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(BusSettingsError, match="NATS_URL") as refused:
        endpoint(given(nats_url=url))
    assert "secret" not in refused.value.message


def test_user_comes_before_token_and_token_before_key() -> None:
    key = {"nats_nkey": SEED}
    token = key | {"nats_token": "t"}
    user = token | {"nats_username": "u", "nats_password": "p"}
    assert endpoint(given(**user)).options == {"user": "u", "password": "p"}
    assert endpoint(given(**token)).options == {"token": "t"}
    assert endpoint(given(**key)).public_key == PUBLIC
    assert endpoint(given()).options == {}


def test_a_seed_gives_the_public_key_of_the_nkeys_tools() -> None:
    assert UserKey(SEED).public == PUBLIC


@pytest.mark.parametrize("seed", ["", "SU", SEED[:-1] + "A", "x" * 58, "SAAG" + SEED[4:], "ß"])
def test_what_is_no_user_seed_is_refused_without_repeating_it(seed: str) -> None:
    with pytest.raises(BusSettingsError) as refused:
        UserKey(seed)
    assert not seed or seed not in refused.value.message


def test_missing_certificates_are_named() -> None:
    with pytest.raises(BusSettingsError, match=r"/nowhere/ca\.pem"):
        endpoint(NatsSettings(nats_url="tls://host", nats_tls_ca="/nowhere/ca.pem"))
