"""Webhook endpoints.

Owns: /v1/webhook_endpoints. Does not own: delivery (`webhooks`). The signing secret is in the answer to creation
only. Addresses off this machine are refused: a stand-in for Stripe must not send anything to the world.
"""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.routing import PAGING, Operation


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address means this machine."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_url(account: Account, url: str, param: str = "url") -> None:
    """Refuse what is no address, and addresses off this machine unless the switch allows them."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not parts.hostname:
        raise invalid(
            "Invalid URL: an explicit scheme (such as https) and a host must be provided.", param, "url_invalid"
        )
    if not account.switches.remote_webhooks and not is_loopback(parts.hostname):
        raise invalid("The emulator delivers webhooks to loopback addresses only.", param, "url_invalid")


def _create(account: Account, params: JSON) -> JSON:
    check_url(account, params["url"])
    if not params["enabled_events"]:
        raise invalid("You must enable at least one event.", "enabled_events")
    row: JSON = {
        "id": account.ids.new("we"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "created": account.now(),
        "description": params.get("description") or None,
        "enabled_events": params["enabled_events"],
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "status": "enabled",
        "url": params["url"],
    }
    account.store.add(row)
    secret = account.webhook_secrets[row["id"]] = account.ids.secret("whsec")
    return {**row, "secret": secret}


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("webhook_endpoint", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    row = account.store.get("webhook_endpoint", id)
    if "url" in params:
        check_url(account, params["url"])
        row["url"] = params["url"]
    if "disabled" in params:
        row["status"] = "disabled" if params["disabled"] else "enabled"
    if "enabled_events" in params:
        row["enabled_events"] = params["enabled_events"]
    if "description" in params:
        row["description"] = params["description"] or None
    row["metadata"] = merged(row["metadata"], params.get("metadata"))
    return row


def _list(account: Account, params: JSON) -> JSON:
    return page(account.store.newest("webhook_endpoint"), params, "/v1/webhook_endpoints")


def _delete(account: Account, params: JSON, id: str) -> JSON:
    account.store.get("webhook_endpoint", id)
    account.store.remove("webhook_endpoint", id)
    del account.webhook_secrets[id]
    return {"id": id, "object": "webhook_endpoint", "deleted": True}


ROOT: Final = "/v1/webhook_endpoints"
KEY: Final = "webhook"
UPDATE: Final = "description disabled enabled_events metadata url"
CREATE: Final = "api_version description enabled_events metadata url"
OPERATIONS: Final = (
    Operation("POST", ROOT, "WebhookEndpointCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "WebhookEndpointListParams", _list, KEY, PAGING),
    Operation("GET", ROOT + "/{id}", "WebhookEndpointRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "WebhookEndpointUpdateParams", _update, KEY, UPDATE),
    Operation("DELETE", ROOT + "/{id}", "WebhookEndpointDeleteParams", _delete, KEY),
)
