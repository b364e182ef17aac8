"""The customer portal: its configurations and sessions.

Owns: /v1/billing_portal. Does not own: flows (`portal_flows`) or the hosted page (`pages.portal`). The account always
has a default configuration, which Stripe makes when it is saved in the Dashboard.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.resources.portal_flows import check_feature, flow
from stripe_meter.emulator.routing import PAGING, Operation

KIND: Final = "billing_portal.configuration"
FIXED_QUANTITY: Final[JSON] = {"enabled": False, "maximum": None, "minimum": 0}
REASONS: Final = ["too_expensive", "missing_features", "switched_service", "unused", "other"]


def default_configuration(account: Account) -> JSON:
    """The configuration used when a session names none."""
    for row in account.store.all(KIND):
        if row["is_default"]:
            return row
    features: JSON = {
        "customer_update": {"enabled": False},
        "invoice_history": {"enabled": True},
        "payment_method_update": {"enabled": True},
        "subscription_cancel": {"enabled": True},
        "subscription_update": {"enabled": False},
    }
    return _new(account, {"features": features}, is_default=True)


def _new(account: Account, params: JSON, *, is_default: bool) -> JSON:
    now = account.now()
    row: JSON = {
        "id": account.ids.new("bpc"),
        "object": KIND,
        "active": True,
        "application": None,
        "business_profile": dict.fromkeys(("headline", "privacy_policy_url", "terms_of_service_url")),
        "created": now,
        "default_return_url": params.get("default_return_url") or None,
        "features": _features(account, {}, params["features"]),
        "is_default": is_default,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": merged({}, params.get("metadata")),
        "name": params.get("name") or None,
        "updated": now,
    }
    row["business_profile"] = _merged(row["business_profile"], params.get("business_profile") or {})
    return account.store.add(row)


def _features(account: Account, old: JSON, wanted: JSON) -> JSON:
    """The complete feature set: what was there, what is asked for, and Stripe's defaults for the rest."""
    blank: JSON = {
        "customer_update": {"allowed_updates": [], "enabled": False},
        "invoice_history": {"enabled": False},
        "payment_method_update": {"enabled": False, "payment_method_configuration": None},
        "subscription_cancel": {
            "cancellation_reason": {"enabled": False, "feedback_options": None, "options": REASONS},
            "enabled": False,
            "mode": "at_period_end",
            "proration_behavior": "none",
        },
        "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
        "subscription_update": {
            "billing_cycle_anchor": None,
            "default_allowed_updates": [],
            "enabled": False,
            "proration_behavior": "none",
            "schedule_at_period_end": {"conditions": []},
            "trial_update_behavior": "end_trial",
        },
    }
    if (wanted.get("subscription_pause") or {}).get("enabled"):
        where = "features[subscription_pause]"
        raise invalid(f"The emulator does not implement {where}.", where, "not_emulated")
    made = {name: _merged(_merged(fields, old.get(name, {})), wanted.get(name) or {}) for name, fields in blank.items()}
    made["subscription_update"] = _offers(account, made["subscription_update"])
    return made


def _offers(account: Account, feature: JSON) -> JSON:
    """The checked feature of switching plans, with what Stripe adds to each product."""
    check_feature(account, feature)
    if not feature["enabled"]:
        return feature
    return {**feature, "default_allowed_updates": ["price"]}


def _merged(old: JSON, wanted: JSON) -> JSON:
    """`old` with what is asked for, part by part; an empty string unsets: a list is empty then, all else null."""
    made = dict(old)
    for name, value in wanted.items():
        before = old.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            made[name] = _merged(before, value)
        elif value == "":
            made[name] = [] if isinstance(before, list) else None
        elif name == "interval_options":
            made[name] = [{"interval_count": 1, **one} for one in value]
        elif name == "products" and value:
            quantities = [{**FIXED_QUANTITY, **one.get("adjustable_quantity", {})} for one in value]
            made[name] = [{**one, "adjustable_quantity": own} for one, own in zip(value, quantities, strict=True)]
        else:
            made[name] = value
    return made


def _create(account: Account, params: JSON) -> JSON:
    return _new(account, params, is_default=False)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get(KIND, id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    row = account.store.get(KIND, id)
    if "active" in params:
        if row["is_default"] and not params["active"]:
            raise invalid("The default configuration cannot be deactivated.", "active")
        row["active"] = params["active"]
    if "features" in params:
        row["features"] = _features(account, row["features"], params["features"])
    row["business_profile"] = _merged(row["business_profile"], params.get("business_profile") or {})
    for name in ("default_return_url", "name"):
        if name in params:
            row[name] = params[name] or None
    row["metadata"] = merged(row["metadata"], params.get("metadata"))
    row["updated"] = account.now()
    return row


def _list(account: Account, params: JSON) -> JSON:
    default_configuration(account)
    return page(matching(account.store.newest(KIND), params, "active", "is_default"), params, f"{ROOT}/configurations")


def _open(account: Account, params: JSON) -> JSON:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = existing(account, params["customer"])["id"]
    configuration = default_configuration(account)
    if "configuration" in params:
        configuration = account.store.get(KIND, params["configuration"], "configuration", 400)
    if not configuration["active"]:
        raise invalid("The configuration is not active.", "configuration")
    id = account.ids.new("bps")
    row: JSON = {
        "id": id,
        "object": "billing_portal.session",
        "configuration": configuration["id"],
        "created": account.now(),
        "customer": customer,
        "customer_account": None,
        "flow": flow(account, params.get("flow_data"), customer, configuration),
        "livemode": False,
        "locale": None,
        "on_behalf_of": None,
        "return_url": params.get("return_url", configuration["default_return_url"]),
        "url": f"{account.base_url}/p/session/{id}",
    }
    return account.store.add(row)


ROOT: Final = "/v1/billing_portal"
KEY: Final = "customer_portal"
FIELDS: Final = "business_profile default_return_url features metadata name"
OPERATIONS: Final = (
    Operation(
        "POST",
        f"{ROOT}/sessions",
        "billing_portal.SessionCreateParams",
        _open,
        KEY,
        "configuration customer flow_data return_url",
    ),
    Operation("POST", f"{ROOT}/configurations", "billing_portal.ConfigurationCreateParams", _create, KEY, FIELDS),
    Operation(
        "GET",
        f"{ROOT}/configurations",
        "billing_portal.ConfigurationListParams",
        _list,
        KEY,
        f"active is_default {PAGING}",
    ),
    Operation("GET", ROOT + "/configurations/{id}", "billing_portal.ConfigurationRetrieveParams", _retrieve, KEY),
    Operation(
        "POST",
        ROOT + "/configurations/{id}",
        "billing_portal.ConfigurationUpdateParams",
        _update,
        KEY,
        f"active {FIELDS}",
    ),
)
