"""The account itself.

Owns: `GET /v1/account`. Does not own: anything the account holds. The fields are those a seller's tools read to say
whose account a key opens.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.routing import Operation

COUNTRY: Final = "US"
#: What the seller may tell of the business; none of it is known here but the name.
PROFILE: Final = (
    "annual_revenue",
    "estimated_worker_count",
    "mcc",
    "minority_owned_business_designation",
    "name",
    "product_description",
    "specified_commercial_transactions_act_url",
    "support_address",
    "support_email",
    "support_phone",
    "support_url",
    "url",
)


def _retrieve(account: Account, params: JSON) -> JSON:
    return {
        "id": account.id,
        "object": "account",
        "business_profile": {**dict.fromkeys(PROFILE), "name": account.merchant},
        "business_type": "company",
        "charges_enabled": True,
        "country": COUNTRY,
        "created": account.opened,
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }


OPERATIONS: Final = (Operation("GET", "/v1/account", "AccountRetrieveCurrentParams", _retrieve, "account"),)
