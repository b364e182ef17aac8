"""Credit notes.

Owns: /v1/credit_notes. Does not own: the rules (`credit_notes`).
"""

from typing import Final

from stripe_meter.emulator import credit_notes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.routing import PAGING, Operation


def _create(account: Account, params: JSON) -> JSON:
    note = credit_notes.form(account, params)
    credit_notes.issue(account, note, params)
    emit(account, "credit_note.created", note)
    return note


def _preview(account: Account, params: JSON) -> JSON:
    return credit_notes.form(account, params)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("credit_note", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    note = account.store.get("credit_note", id)
    note["memo"] = params.get("memo", note["memo"])
    note["metadata"] = merged(note["metadata"], params.get("metadata"))
    emit(account, "credit_note.updated", note)
    return note


def _list(account: Account, params: JSON) -> JSON:
    return page(matching(account.store.newest("credit_note"), params, "customer", "invoice"), params, ROOT)


def _lines(account: Account, params: JSON, id: str) -> JSON:
    return page(account.store.get("credit_note", id)["lines"]["data"], params, f"{ROOT}/{id}/lines")


def _void(account: Account, params: JSON, id: str) -> JSON:
    note = account.store.get("credit_note", id)
    credit_notes.void(account, note)
    emit(account, "credit_note.voided", note)
    return note


ROOT: Final = "/v1/credit_notes"
KEY: Final = "invoice"
CREATE: Final = (
    "amount credit_amount effective_at email_type invoice lines memo metadata out_of_band_amount reason refund_amount"
)
LINES: Final = "limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", ROOT, "CreditNoteCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "CreditNoteListParams", _list, KEY, f"customer invoice {PAGING}"),
    Operation("GET", f"{ROOT}/preview", "CreditNotePreviewParams", _preview, KEY, CREATE),
    Operation("GET", ROOT + "/{id}", "CreditNoteRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "CreditNoteUpdateParams", _update, KEY, "memo metadata"),
    Operation("GET", ROOT + "/{id}/lines", "CreditNoteLineItemListParams", _lines, KEY, LINES),
    Operation("POST", ROOT + "/{id}/void", "CreditNoteVoidCreditNoteParams", _void, KEY),
)
