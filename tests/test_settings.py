"""Settings: where they come from, and the sentence for each that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stripe_meter.errors import ConfigurationError, KeyRefused
from stripe_meter.settings import EMULATOR_KEY, Settings

CANARY = "canary4242canary"


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Configuration files are looked for in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_code_wins_over_environment_over_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """code > environment > stripe-meter.toml > pyproject.toml > default."""
    assert Settings().namespace == "mcp"
    (tmp_path / "pyproject.toml").write_text('[tool.stripe-meter]\nnamespace = "py"\n')
    assert Settings().namespace == "py"
    (tmp_path / "stripe-meter.toml").write_text('namespace = "toml"\n')
    assert Settings().namespace == "toml"
    monkeypatch.setenv("STRIPE_METER_NAMESPACE", "env")
    assert Settings().namespace == "env"
    assert Settings(namespace="code").namespace == "code"


def test_an_emulator_wins_over_any_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dev` and `demo` can never touch Stripe, whatever key stands in code or environment."""
    monkeypatch.setenv("STRIPE_METER_EMULATOR", "http://127.0.0.1:4242/")
    settings = Settings(stripe_secret_key=f"sk_live_{CANARY}")
    assert (settings.mode, settings.key(), settings.emulator) == ("emulator", EMULATOR_KEY, "http://127.0.0.1:4242")


@pytest.mark.parametrize(
    ("key", "mode"),
    [("sk_test_abcd", "test"), ("rk_test_abcd", "test"), ("sk_live_abcd", "live"), ("rk_live_abcd", "live")],
)
def test_the_key_says_which_mode(monkeypatch: pytest.MonkeyPatch, key: str, mode: str) -> None:
    """Live mode creates nothing by itself, so it must be told apart."""
    monkeypatch.setenv("STRIPE_SECRET_KEY", f" {key} ")
    assert Settings().mode == mode


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("", ["STRIPE_SECRET_KEY", "stripe-meter dev", "stripe-meter demo"]),
        (f"pk_test_{CANARY}", ["publishable", "sk_"]),
        (f"{CANARY}", ["has not the form", "Dashboard"]),
        (f"sk_test_{CANARY}\n{CANARY}", ["has not the form"]),
    ],
)
def test_a_key_that_cannot_be_used_has_its_own_sentence(
    monkeypatch: pytest.MonkeyPatch, key: str, says: list[str]
) -> None:
    """It names the remedy and never the key."""
    monkeypatch.setenv("STRIPE_SECRET_KEY", key)
    with pytest.raises(KeyRefused) as caught:
        Settings().key()
    message = str(caught.value)
    assert all(part in message for part in says)
    assert CANARY not in message
    assert "\n" not in message


def test_a_key_never_shows_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings end up in logs."""
    monkeypatch.setenv("STRIPE_SECRET_KEY", f"sk_test_{CANARY}")
    assert CANARY not in repr(Settings())
    assert CANARY not in str(Settings())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"namespace": "No Spaces"}, "STRIPE_METER_NAMESPACE"),
        ({"timeout": 0}, "STRIPE_METER_TIMEOUT"),
        ({"timeout": CANARY}, "STRIPE_METER_TIMEOUT"),
        ({"public_url": "tools.example.com"}, "STRIPE_METER_PUBLIC_URL"),
        ({"emulator": "localhost"}, "STRIPE_METER_EMULATOR"),
        ({"enabled": "perhaps"}, "STRIPE_METER_ENABLED"),
        ({"nonsense": 1}, "'nonsense' is no setting"),
        ({"redis_url": f"localhost/{CANARY}"}, "REDIS_URL (or"),
        ({"redis_url": f"http://:{CANARY}@localhost:6379"}, "REDIS_URL (or"),
        ({"redis_url": f"redis://:{CANARY}@127.0.0.1:port"}, "REDIS_URL (or"),
        ({"redis_url": f"redis://user:{CANARY}@[::1"}, "REDIS_URL (or"),
        ({"redis_url": "redis+cluster://127.0.0.1:1"}, "REDIS_URL (or"),
        ({"stripe_secret_key": 5}, "STRIPE_SECRET_KEY (or"),
        ({"stripe_webhook_secret": 5}, "STRIPE_WEBHOOK_SECRET (or"),
        ({"stripe_webhook_secret": f'"whsec_{CANARY}"'}, "without quotes"),
        ({"stripe_webhook_secret": f"sk_test_{CANARY}"}, "STRIPE_WEBHOOK_SECRET"),
        ({"stripe_webhook_secret": f"whsec_{CANARY} {CANARY}"}, "STRIPE_WEBHOOK_SECRET"),
        ({"stripe_webhook_secret": " "}, "STRIPE_WEBHOOK_SECRET"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable(values: dict[str, Any], says: str) -> None:
    """One sentence, without the value, which may be a secret pasted into the wrong line."""
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    assert says in str(caught.value)
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)
