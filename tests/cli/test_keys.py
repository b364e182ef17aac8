"""`stripe-meter keys`: a caller's keys by hand."""

import json
import re
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from stripe_meter.cli import standin
from stripe_meter.domain.identity import MOST_KEYS, ApiKey, stored_keys
from stripe_meter.emulator import EmulatorServer
from tests.cli.support import run, sentence


def customer_in(stripe: EmulatorServer, **metadata: str) -> str:
    form = {f"metadata[{name}]": value for name, value in metadata.items()}
    request = Request(
        f"{stripe.url}/v1/customers",
        urlencode({"email": "caller@example.com", **form}).encode(),
        {"Authorization": "Bearer sk_test_emulator"},
    )
    with urlopen(request, timeout=10) as response:
        customer: str = json.load(response)["id"]
    return customer


def metadata(stripe: EmulatorServer, customer: str) -> dict[str, str]:
    found: dict[str, str] = standin.read(stripe.url, f"customers/{customer}")["metadata"]
    return found


def test_a_key_is_shown_once_listed_by_its_id_and_revoked(stripe: EmulatorServer) -> None:
    """Create, list and revoke agree with what Stripe keeps, and only create ever shows a secret."""
    env = {"STRIPE_METER_EMULATOR": stripe.url}
    customer = customer_in(stripe)

    made = run("keys", "create", customer, env=env)
    assert made.returncode == 0, made.stderr
    key = ApiKey.parse(re.findall(r"^  (smk_\w+)$", made.stdout, re.MULTILINE)[0])
    assert key is not None
    assert "x-api-key" in made.stdout
    assert "STRIPE_METER_API_KEY" in made.stdout
    assert key.opens(stored_keys(metadata(stripe, customer)))

    listed = run("keys", "list", customer, env=env)
    assert re.fullmatch(rf"{key.id}  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n", listed.stdout)

    revoked = run("keys", "revoke", customer, key.id, env=env)
    assert revoked.returncode == 0, revoked.stderr
    assert "up to 1 h more" in revoked.stdout
    assert not key.opens(stored_keys(metadata(stripe, customer)))
    assert "has no API key" in run("keys", "list", customer, env=env).stdout
    for shown in (listed, revoked):
        assert key.secret not in shown.stdout + shown.stderr


def test_json_is_for_programs(stripe: EmulatorServer) -> None:
    """Each command prints one object."""
    env = {"STRIPE_METER_EMULATOR": stripe.url}
    customer = customer_in(stripe, stripe_meter_key_old123="0" * 64)
    made = json.loads(run("keys", "create", customer, "--json", env=env).stdout)
    assert made["customer"] == customer
    assert made["key"].startswith(f"smk_{customer}_{made['id']}")
    assert json.loads(run("keys", "list", customer, "--json", env=env).stdout) == {
        "customer": customer,
        "keys": [{"id": "old123", "created": 0}, {"id": made["id"], "created": made["created"]}],
    }
    assert "at an unknown time" in run("keys", "list", customer, env=env).stdout
    assert json.loads(run("keys", "revoke", customer, made["id"], "--json", env=env).stdout) == {
        "customer": customer,
        "id": made["id"],
        "revoked": True,
        "lag_seconds": 3600,
    }


def test_revoking_a_key_that_is_not_there_is_one_sentence(stripe: EmulatorServer) -> None:
    """The sentence leads to the list."""
    customer = customer_in(stripe)
    said = sentence(run("keys", "revoke", customer, "abc234", env={"STRIPE_METER_EMULATOR": stripe.url}))
    assert f"stripe-meter keys list {customer}" in said


def test_an_unknown_customer_is_one_sentence(stripe: EmulatorServer) -> None:
    """Stripe's own words are passed on."""
    said = sentence(run("keys", "create", "cus_nobody", env={"STRIPE_METER_EMULATOR": stripe.url}))
    assert "No such customer" in said


def test_who_only_holds_credits_gets_no_key(stripe: EmulatorServer) -> None:
    """The Dashboard shows two customers for one buyer of credits; a key of the wallet would find no credits."""
    env = {"STRIPE_METER_EMULATOR": stripe.url}
    wallet = customer_in(stripe, stripe_meter_wallet_for="cus_owner")
    said = sentence(run("keys", "create", wallet, env=env))
    assert "stripe-meter keys create cus_owner" in said
    assert not stored_keys(metadata(stripe, wallet))


def test_a_customer_with_all_their_keys_gets_no_more(stripe: EmulatorServer) -> None:
    """Metadata has room for so many; the sentence says what to do."""
    full = {f"stripe_meter_key_abc{n:03d}": "0" * 64 for n in range(MOST_KEYS)}
    customer = customer_in(stripe, **full)
    said = sentence(run("keys", "create", customer, env={"STRIPE_METER_EMULATOR": stripe.url}))
    assert f"revoke one: stripe-meter keys revoke {customer}" in said


@pytest.mark.parametrize(
    ("env", "part"),
    [
        ({}, "no Stripe key: set STRIPE_SECRET_KEY"),
        ({"STRIPE_SECRET_KEY": "pk_test_abcdefgh"}, "publishable"),
        ({"STRIPE_SECRET_KEY": "sk_tset_abcdefgh"}, "has not the form"),
        ({"STRIPE_METER_EMULATOR": "nonsense"}, "STRIPE_METER_EMULATOR (or emulator in a TOML file) cannot be used"),
    ],
)
def test_a_key_of_ours_that_cannot_be_used_is_one_sentence(env: dict[str, str], part: str) -> None:
    """The author's own key is never repeated."""
    said = sentence(run("keys", "list", "cus_abc", env=env))
    assert part in said
    assert "abcdefgh" not in said


def test_a_stripe_that_is_not_there_is_one_sentence() -> None:
    """After a few tries, within bounds."""
    env = {"STRIPE_METER_EMULATOR": "http://127.0.0.1:1", "STRIPE_METER_TIMEOUT": "1"}
    assert "could not be reached" in sentence(run("keys", "list", "cus_abc", env=env))


@pytest.mark.parametrize(
    "arguments", [["create", "smk_cus_abc_secret"], ["list", "bob"], ["revoke", "cus_abc", "smk_cus_abc_secret"]]
)
def test_an_id_of_another_form_is_a_usage_error(arguments: list[str]) -> None:
    """A key pasted in place of an id is not repeated on the screen."""
    done = run("keys", *arguments)
    assert done.returncode == 2
    assert "smk_" not in done.stdout + done.stderr.partition("Error:")[2]
