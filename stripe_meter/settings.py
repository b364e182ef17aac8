"""Settings: what can be set outside the code, from where, and the sentence for a value that cannot be used.

Order of precedence: code > environment > `stripe-meter.toml` > `[tool.stripe-meter]` of `pyproject.toml` > default.
One exception: `STRIPE_METER_EMULATOR`, which `stripe-meter dev` and `demo` set, wins over any key, so that they can
never touch Stripe. Built on first use, because pydantic-settings costs 0.1 s to import.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, Field, PlainValidator, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stripe_meter.domain.identity import Trust
from stripe_meter.domain.origins import LOOPBACK, Network, networks, origins
from stripe_meter.domain.plans import Plan
from stripe_meter.domain.pricelist import Price, PriceList
from stripe_meter.domain.tables import Origin, check_keys, read_default_price, read_plans, read_prices, read_spend_cap
from stripe_meter.errors import ConfigurationError, KeyRefused

#: The key the emulator is given instead of the author's.
EMULATOR_KEY: Final = "sk_test_emulator"

KeyMode = Literal["test", "live", "emulator"]

_NO_KEY: Final = (
    "no Stripe key: set STRIPE_SECRET_KEY=sk_test_… (Dashboard → Developers → API keys); "
    "without an account run `stripe-meter dev server.py`, or see it work with `stripe-meter demo`"
)


#: What stands in a file, and where, until it is read.
_Found = tuple[Origin, object]


def _is_found(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Origin)


def _plans(value: Any) -> tuple[Plan, ...]:
    if _is_found(value):
        return read_plans(value[1], value[0])
    assert not isinstance(value, str)  # from the environment, which has no tables
    return tuple(value)


def _prices(value: Any) -> dict[str, Price]:
    if _is_found(value):
        return read_prices(value[1], value[0])
    assert not isinstance(value, str)
    PriceList.of(value)
    return dict(value)


def _one(read: Callable[[object, Origin], Any]) -> PlainValidator:
    def validate(value: Any) -> Any:
        if value is None:
            return None
        return read(*reversed(value if _is_found(value) else (Origin("settings"), value)))

    return PlainValidator(validate)


def _redis(value: SecretStr | None) -> SecretStr | None:
    """Whether the client for Redis can read it; a `ValueError` shows nothing of it."""
    if value is not None:
        where = urlsplit(value.get_secret_value())
        is_socket = where.scheme == "redis+unix"
        if not (is_socket or where.scheme in ("redis", "rediss")) or not (where.path if is_socket else where.hostname):
            raise ValueError
        _ = where.port  # raises when it is no number
    return value


class Settings(BaseSettings):
    """Everything that can be set without touching the code.

    Raises:
        ConfigurationError: A value cannot be used; the message names the variable and the remedy.
    """

    model_config = SettingsConfigDict(
        env_prefix="STRIPE_METER_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        toml_file="stripe-meter.toml",
        pyproject_toml_table_header=("tool", "stripe-meter"),
    )

    stripe_secret_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("stripe_secret_key", "STRIPE_SECRET_KEY")
    )
    #: Signing secrets of our webhook endpoints, separated by commas: one for each endpoint, two while one is rotated.
    stripe_webhook_secret: SecretStr | None = Field(
        None, validation_alias=AliasChoices("stripe_webhook_secret", "STRIPE_WEBHOOK_SECRET")
    )
    #: Whether customers are refused while a payment of theirs is disputed; only webhooks tell of it.
    pause_on_dispute: bool = True
    #: Base URL of an emulator; when set, no request leaves for Stripe.
    emulator: str | None = Field(None, pattern=r"^https?://[^/]+/?$")
    #: False serves every tool free and says so loudly.
    enabled: bool = True
    #: Prefix of meter names, lookup keys and product ids; separates staging from production in one account.
    namespace: str = Field("mcp", pattern=r"^[a-z0-9][a-z0-9_-]{0,29}$")
    #: Where callers' browsers reach this server, such as `https://tools.example.com`.
    public_url: str | None = Field(None, pattern=r"^https?://[^/\s]+(/[^\s?#]*)?$")
    #: Networks from which our routes may be asked, all but the webhook; empty lets everybody in.
    allowed_ips: Annotated[tuple[Network, ...], NoDecode, PlainValidator(networks)] = ()
    #: Networks from which `admin/stats` and `metrics` may be asked.
    admin_ips: Annotated[tuple[Network, ...], NoDecode, PlainValidator(networks)] = LOOPBACK
    #: Origins beside our own to which our pages may lead: return addresses, and a Checkout domain of the author's.
    return_origins: Annotated[tuple[str, ...], NoDecode, PlainValidator(origins)] = ()
    #: Most calls of one customer, whatever their plan, such as `1000/minute`.
    rate_limit: str | None = Field(None, pattern=r"(?i)^\s*[1-9]\d{0,8}\s*/\s*(second|minute|hour|day)\s*$")
    #: Where processes count together; without it every process counts for itself.
    redis_url: Annotated[SecretStr | None, AfterValidator(_redis)] = Field(
        None, validation_alias=AliasChoices("redis_url", "REDIS_URL")
    )
    #: Level of our loggers: `info` shows the audit log and decisions that asked Stripe, `debug` every decision.
    log: Literal["debug", "info", "warning", "error"] | None = None
    #: Seconds for one request to Stripe; the SDK's default is 80.
    timeout: float = Field(5.0, gt=0, le=60)

    #: When a paid call answers: `batched` at once, `sync` after Stripe has accepted its usage.
    durability: Literal["batched", "sync"] = "batched"
    #: Seconds that the oldest usage may be unsent before paid calls are refused.
    max_unsent_seconds: float = Field(300.0, ge=5, le=86400)
    #: Minor units (cents, yen) of one customer's unsent usage before their calls are refused.
    max_unsent_amount: int = Field(5000, ge=1)

    #: What is on offer, beside what the code says; only in a file, as `[[plans]]`.
    plans: Annotated[tuple[Plan, ...], NoDecode, PlainValidator(_plans)] = ()
    #: Prices of tools by name or glob, beside what the code says; only in a file, as `[prices]`.
    prices: Annotated[dict[str, Price], NoDecode, PlainValidator(_prices)] = Field(default_factory=dict)
    #: Price of decorated tools that nothing else prices.
    default_price: Annotated[Price | None, NoDecode, _one(read_default_price)] = None
    #: Most that one customer may spend in a UTC day or month, such as `$50/month`, where the code says nothing.
    spend_cap: Annotated[str | tuple[str, ...] | None, NoDecode, _one(read_spend_cap)] = None

    #: JWTs that name their caller are believed from this issuer (`iss`), when they are meant for
    jwt_issuer: str | None = Field(None, min_length=1)
    #: this server (`aud`), and signed
    jwt_audience: str | None = Field(None, min_length=1)
    #: by a key published here (RS, PS, ES, EdDSA),
    jwt_jwks_url: str | None = Field(
        None, pattern=r"^(https://[^\s]+|http://(127\.0\.0\.1|localhost|\[::1\])[:/][^\s]*)$"
    )
    #: or by this shared secret (HS).
    jwt_secret: SecretStr | None = Field(None, min_length=32)

    @field_validator("emulator", "public_url")
    @classmethod
    def _no_trailing_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else value

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(_sentence(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{self._files()} is not valid TOML: {error}") from None
        _ = self.trust, self.webhook_secrets

    @classmethod
    def _files(cls) -> str:
        named = cls.model_config.get("toml_file")
        if isinstance(named, Path):
            return str(named)
        return f"stripe-meter.toml or pyproject.toml in {Path.cwd().name}/"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            _Toml(settings_cls),
            _Pyproject(settings_cls),
        )

    @property
    def trust(self) -> Trust | None:
        """Whose JWTs are believed; None when nobody's. Raises `ConfigurationError`."""
        secret = None if self.jwt_secret is None else self.jwt_secret.get_secret_value()
        if not (self.jwt_issuer or self.jwt_audience or self.jwt_jwks_url or secret):
            return None
        if not (self.jwt_issuer and self.jwt_audience) or (self.jwt_jwks_url is None) == (secret is None):
            raise ConfigurationError(
                "to believe JWTs set STRIPE_METER_JWT_ISSUER and STRIPE_METER_JWT_AUDIENCE, and either "
                "STRIPE_METER_JWT_JWKS_URL (keys the issuer publishes) or STRIPE_METER_JWT_SECRET (one you share)"
            )
        if secret is not None and ("-----BEGIN" in secret or secret.startswith(("ssh-", "ecdsa-"))):
            raise ConfigurationError(
                "STRIPE_METER_JWT_SECRET holds a public or private key, with which anybody who knows the public half "
                "could sign; set STRIPE_METER_JWT_JWKS_URL to where the issuer publishes its keys"
            )
        return Trust(self.jwt_issuer, self.jwt_audience, self.jwt_jwks_url, secret)

    @property
    def mode(self) -> KeyMode:
        """Which Stripe this process talks to. Raises `KeyRefused` when there is no usable key."""
        if self.emulator is not None:
            return "emulator"
        return "live" if "_live_" in self.key() else "test"

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Secrets by which webhooks are known to be Stripe's; none where webhooks are not used.

        Raises:
            ConfigurationError: One of them is none; the message never holds it.
        """
        return _secrets(self.stripe_webhook_secret)

    def key(self) -> str:
        """The key for the wire.

        Raises:
            KeyRefused: No key, or not a secret one; the message never holds it.
        """
        if self.emulator is not None:
            return EMULATOR_KEY
        key = self.stripe_secret_key.get_secret_value().strip() if self.stripe_secret_key is not None else ""
        if not key:
            raise KeyRefused(_NO_KEY)
        if key.startswith("pk_"):
            raise KeyRefused(
                "STRIPE_SECRET_KEY holds a publishable key (pk_…), which cannot bill; "
                "set the secret key (sk_…) that stands beside it in the Dashboard"
            )
        if not re.fullmatch(r"(sk|rk)_(test|live)_[A-Za-z0-9_]{4,250}", key):
            raise KeyRefused(
                "STRIPE_SECRET_KEY has not the form of a Stripe secret key (sk_test_…, sk_live_…, rk_…); "
                "copy it again from the Dashboard → Developers → API keys"
            )
        return key


def _secrets(text: SecretStr | None) -> tuple[str, ...]:
    whole = "" if text is None else text.get_secret_value()
    secrets = tuple(part for part in (part.strip() for part in whole.split(",")) if part)
    if bool(whole) is not bool(secrets) or not all(
        re.fullmatch(r"whsec_[A-Za-z0-9_+/=-]{4,250}", part) for part in secrets
    ):
        raise ConfigurationError(
            "STRIPE_WEBHOOK_SECRET has not the form of signing secrets (whsec_…, several separated by commas, without "
            "quotes); make an endpoint and get them with `stripe-meter webhook create`"
        )
    return secrets


_TABLES: Final = ("plans", "prices", "default_price", "spend_cap")


def _located(data: dict[str, Any], origin: Origin) -> dict[str, Any]:
    """Refuse keys nobody reads; let tables be read by who knows where they stand."""
    where = f"{origin.file}, [{origin.within}]" if origin.within else origin.file
    aliases = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "REDIS_URL")
    check_keys(data, [*Settings.model_fields, *aliases], where, "the settings")
    return {key: (origin, value) if key in _TABLES else value for key, value in data.items()}


class _Toml(TomlConfigSettingsSource):
    def __call__(self) -> dict[str, Any]:
        return _located(super().__call__(), Origin(Path(str(self.toml_file_path)).name))


class _Pyproject(PyprojectTomlConfigSettingsSource):
    def __call__(self) -> dict[str, Any]:
        return _located(super().__call__(), Origin("pyproject.toml", ".".join(self.toml_table_header)))


def from_file(path: Path) -> Settings:
    """Settings of the environment and of this file, whatever stands in the working directory.

    Raises:
        ConfigurationError: It cannot be read, or something in it cannot be used.
    """
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; name a TOML file with [prices]") from None
    is_project = path.name == "pyproject.toml"

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=None if is_project else path)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            # A name that does not exist keeps the working directory's own file out.
            project = _Pyproject(settings_cls, path if is_project else path / "none")
            return init_settings, env_settings, _Toml(settings_cls), project

    make: type[Settings] = FromFile
    return make()


#: What a value has to look like, in words.
_EXPECTED: Final = {
    "stripe_secret_key": "the secret key as text (sk_… or rk_…)",
    "stripe_webhook_secret": "signing secrets as text (whsec_…)",
    "emulator": "an address such as http://127.0.0.1:4242",
    "enabled": "true or false",
    "pause_on_dispute": "true or false",
    "namespace": "at most 30 lower-case letters, digits, - and _",
    "public_url": "an address such as https://tools.example.com",
    "allowed_ips": "addresses or networks separated by commas, such as 10.0.0.0/8",
    "admin_ips": "addresses or networks separated by commas, such as 127.0.0.1",
    "return_origins": "origins separated by commas, such as https://app.example.com",
    "rate_limit": "calls in a while, such as 1000/minute; second, minute, hour or day",
    "redis_url": "an address such as redis://127.0.0.1:6379/0 (redis, rediss or redis+unix)",
    "log": "debug, info, warning or error",
    "timeout": "seconds, more than 0 and at most 60",
    "durability": "batched or sync",
    "max_unsent_seconds": "seconds, from 5 to 86400",
    "max_unsent_amount": "a whole number of minor units, at least 1",
    "jwt_issuer": "the issuer exactly as tokens say it, such as https://id.example.com/",
    "jwt_audience": "what tokens for this server name as their audience",
    "jwt_jwks_url": "an https address such as https://id.example.com/.well-known/jwks.json",
    "jwt_secret": "a secret of at least 32 characters",
    "plans": "[[plans]] tables in stripe-meter.toml",
    "prices": "a [prices] table in stripe-meter.toml",
    "default_price": 'a price such as "$0.05"',
    "spend_cap": 'an amount a day or month, such as "$50/month"',
}


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    name = name.lower().removeprefix("stripe_meter_")
    if first["type"] == "extra_forbidden" or name not in _EXPECTED:
        return f"{name!r} is no setting of stripe-meter; see `.env.example` for all of them"
    is_common = name in ("stripe_secret_key", "stripe_webhook_secret", "redis_url")
    variable = name.upper() if is_common else f"STRIPE_METER_{name.upper()}"
    return f"{variable} (or {name} in a TOML file) cannot be used; write {_EXPECTED[name]}"
