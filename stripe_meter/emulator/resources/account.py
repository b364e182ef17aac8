"""The account itself.

Owns: `GET /v1/account`. Does not own: anything the account holds. The fields are those a seller's tools read to say
whose account a key opens.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.routing import Operation

COUNTRY: Final = "US"


def _retrieve(account: Account, params: JSON) -> JSON:
    return {
        "id": account.id,
        "object": "account",
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
