"""Billing credits: grants, what they pay for, and balances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from stripe_meter.emulator import Emulator
    from tests.emulator.conftest import Shop

DAY = 86_400
METERED = {"scope": {"price_type": "metered"}}


def grant(shop: Shop, cents: int, **more: Any) -> Any:
    """A grant for the shop's customer."""
    amount = {"type": "monetary", "monetary": {"currency": "usd", "value": cents}}
    base = {"customer": shop.customer, "amount": amount, "applicability_config": METERED}
    return shop.v1.billing.credit_grants.create({**base, **more})


def balance(shop: Shop, **filter: Any) -> tuple[int, int]:
    """Available and ledger balance, by default over all metered prices."""
    wanted = filter or {"type": "applicability_scope", "applicability_scope": {"price_type": "metered"}}
    summary = shop.v1.billing.credit_balance_summary.retrieve({"customer": shop.customer, "filter": wanted})
    rows = summary.balances
    if not rows:
        return (0, 0)
    return rows[0].available_balance.monetary.value, rows[0].ledger_balance.monetary.value


def moves(shop: Shop) -> list[tuple[str, int]]:
    """Type and amount of every credit transaction, oldest first."""
    rows = shop.v1.billing.credit_balance_transactions.list({"customer": shop.customer, "limit": 100}).data
    parts = [row.credit or row.debit for row in reversed(rows)]
    return [(part.type, part.amount.monetary.value) for part in parts]


def close_period(shop: Shop) -> Any:
    """Go to the end of the period, past the grace; the finalised invoice."""
    shop.server.advance(31 * DAY + 3700)
    return shop.newest_invoice()


def test_credits_pay_for_metered_lines_when_the_invoice_finalises(shop: Shop) -> None:
    """Credits are consumed at finalisation, not at use (docs.stripe.com: billing credits)."""
    shop.subscribe()
    grant(shop, 1000)
    shop.use("30")
    assert balance(shop) == (1000, 1000)
    invoice = close_period(shop)
    assert (invoice.subtotal, invoice.total, invoice.amount_due, invoice.status) == (150, 0, 0, "paid")
    assert balance(shop) == (850, 850)
    assert moves(shop) == [("credits_granted", 1000), ("credits_applied", 150)]


def test_draft_lowers_available_and_not_the_ledger(shop: Shop) -> None:
    """A draft may already lower the available balance while the ledger stays (billing credits)."""
    shop.subscribe()
    grant(shop, 1000)
    shop.use("30")
    end = shop.v1.subscriptions.list().data[0]["items"].data[0].current_period_end
    shop.server.advance(end - shop.now)
    assert shop.newest_invoice().status == "draft"
    assert balance(shop) == (850, 1000)
    row = shop.newest_invoice().total_pretax_credit_amounts[0]
    assert (row.amount, row.credit_balance_transaction) == (150, None)


def test_usage_in_the_grace_is_paid_by_credits_too(shop: Shop) -> None:
    """Late usage is on the draft until it finalises (billing grace period)."""
    shop.subscribe()
    grant(shop, 1000)
    end = shop.v1.subscriptions.list().data[0]["items"].data[0].current_period_end
    shop.server.advance(end - shop.now + 10)
    shop.use("10", timestamp=end - 5)
    assert balance(shop) == (950, 1000)


def test_line_and_transaction_name_each_other(shop: Shop) -> None:
    """`credits_applied` carries invoice and line, the line carries the transaction (API reference)."""
    shop.subscribe()
    made = grant(shop, 100)
    shop.use("30")
    invoice = close_period(shop)
    applied = invoice.lines.data[0].pretax_credit_amounts[0]
    found = shop.v1.billing.credit_balance_transactions.retrieve(applied.credit_balance_transaction)
    assert (found.credit_grant, found.debit.type) == (made.id, "credits_applied")
    about = found.debit.credits_applied
    assert (about.invoice, about.invoice_line_item) == (invoice.id, invoice.lines.data[0].id)
    assert (invoice.total, invoice.amount_due) == (50, 50)


def test_licensed_lines_are_never_paid_by_credits(shop: Shop) -> None:
    """Scope: metered lines of subscription invoices only (billing credits)."""
    grant(shop, 10_000)
    shop.subscribe(shop.fee(2000))
    assert shop.newest_invoice().total == 2000
    assert balance(shop) == (10_000, 10_000)


@pytest.mark.parametrize(
    ("effective", "expires", "used"),
    [
        (0, None, True),
        (20, None, True),  # not effective yet when used, but before the period ends
        (32, None, False),  # effective after the period
        (0, 20, False),  # expires in mid-period: never pays for that period
        (0, 33, True),
    ],
)
def test_grant_is_eligible_by_the_end_of_the_period(
    shop: Shop, effective: int, expires: int | None, used: bool
) -> None:
    """effective_at <= period_end < expires_at (billing credits, eligibility)."""
    shop.subscribe()
    shop.use("30")
    terms: dict[str, int] = {"effective_at": shop.now + effective * DAY}
    if expires:
        terms["expires_at"] = shop.now + expires * DAY
    grant(shop, 1000, **terms)
    assert close_period(shop).total == (0 if used else 150)


def test_grants_are_used_in_stripes_order(shop: Shop) -> None:
    """Priority, earlier expiry, promotional first, earlier effective_at, earlier created (billing credits)."""
    shop.subscribe()
    later, sooner = shop.now + 90 * DAY, shop.now + 60 * DAY
    made = {
        "created": grant(shop, 10, effective_at=shop.now + 5),
        "effective": grant(shop, 10, effective_at=shop.now),
        "promotional": grant(shop, 10, category="promotional", effective_at=shop.now + 9),
        "later": grant(shop, 10, expires_at=later),
        "sooner": grant(shop, 10, expires_at=sooner),
        "first": grant(shop, 10, priority=0),
    }
    names = {row.id: name for name, row in made.items()}
    shop.use("30")
    close_period(shop)
    rows = shop.v1.billing.credit_balance_transactions.list({"customer": shop.customer, "limit": 100}).data
    used = [names[row.credit_grant] for row in reversed(rows) if row.debit is not None]
    assert used == ["first", "sooner", "later", "promotional", "effective", "created"]


def test_scope_may_name_single_prices(shop: Shop) -> None:
    """A grant for prices pays for those prices only; one-time and licensed prices cannot be named (API reference)."""
    other = shop.metered(unit_amount=100)
    shop.subscribe(shop.price, other)
    grant(shop, 1000, applicability_config={"scope": {"prices": [{"id": shop.price}]}})
    shop.use("2")
    assert close_period(shop).total == 200
    with pytest.raises(stripe.InvalidRequestError):
        grant(shop, 1, applicability_config={"scope": {"prices": [{"id": shop.fee(1)}]}})
    with pytest.raises(stripe.InvalidRequestError):
        grant(shop, 1, applicability_config={"scope": {"prices": []}})


def test_scope_of_a_summary_by_price_counts_what_would_pay_for_it(shop: Shop) -> None:
    """A price is paid by grants that name it and by those for all metered prices."""
    other = shop.metered(unit_amount=100)
    grant(shop, 100)
    grant(shop, 10, applicability_config={"scope": {"prices": [{"id": other}]}})
    scope = {"type": "applicability_scope", "applicability_scope": {"prices": [{"id": other}]}}
    assert balance(shop, **scope) == (110, 110)
    assert balance(shop) == (100, 100)


def test_summary_of_a_single_grant(shop: Shop) -> None:
    """The filter may name a grant (API reference)."""
    made = grant(shop, 10)
    grant(shop, 5)
    assert balance(shop, type="credit_grant", credit_grant=made.id) == (10, 10)
    for wrong in ({"type": "credit_grant"}, {"type": "applicability_scope"}):
        with pytest.raises(stripe.InvalidRequestError):
            balance(shop, **wrong)


def test_other_currency_is_not_used(shop: Shop) -> None:
    """A grant pays in its own currency; the summary has one entry per currency (API reference)."""
    shop.subscribe()
    amount = {"type": "monetary", "monetary": {"currency": "EUR", "value": 1000}}
    grant(shop, 1, amount=amount)
    grant(shop, 20)
    shop.use("30")
    assert close_period(shop).total == 130
    wanted = {"type": "applicability_scope", "applicability_scope": {"price_type": "metered"}}
    summary = shop.v1.billing.credit_balance_summary.retrieve({"customer": shop.customer, "filter": wanted})
    found = {row.ledger_balance.monetary.currency: row.ledger_balance.monetary.value for row in summary.balances}
    assert found == {"eur": 1000, "usd": 0}


def test_pending_grant_is_neither_available_nor_posted(shop: Shop) -> None:
    """Available and ledger leave out what is not effective yet (billing credits)."""
    grant(shop, 100, effective_at=shop.now + DAY)
    assert balance(shop) == (0, 0)
    shop.server.advance(DAY)
    assert balance(shop) == (100, 100)


def test_101st_unused_grant_is_refused(shop: Shop) -> None:
    """At most 100 unused grants per customer (billing credits, limits)."""
    for _ in range(100):
        made = grant(shop, 1)
    with pytest.raises(stripe.InvalidRequestError, match="100"):
        grant(shop, 1)
    shop.v1.billing.credit_grants.void_grant(made.id)
    grant(shop, 1)


def test_grant_expires_at_its_time(shop: Shop) -> None:
    """What is left expires with a debit of type credits_expired (API reference)."""
    grant(shop, 100, expires_at=shop.now + DAY)
    shop.server.advance(DAY)
    assert balance(shop) == (0, 0)
    assert moves(shop) == [("credits_granted", 100), ("credits_expired", 100)]


def test_expiry_can_be_moved_or_removed(shop: Shop) -> None:
    """Only expires_at and metadata can change; an empty string means never (API reference)."""
    made = grant(shop, 100, expires_at=shop.now + DAY)
    update = shop.v1.billing.credit_grants.update
    assert update(made.id, {"expires_at": shop.now + 2 * DAY, "metadata": {"a": "b"}}).metadata["a"] == "b"
    shop.server.advance(DAY)
    assert balance(shop) == (100, 100)
    assert update(made.id, {"expires_at": ""}).expires_at is None
    shop.server.advance(DAY)
    assert balance(shop) == (100, 100)
    with pytest.raises(stripe.InvalidRequestError):
        update(made.id, {"expires_at": shop.now})
    with pytest.raises(stripe.InvalidRequestError):
        update(made.id, {"priority": 1})


def test_grant_can_be_expired_at_once_and_only_once(shop: Shop) -> None:
    """`/expire` ends what is left (API reference)."""
    made = grant(shop, 100)
    assert shop.v1.billing.credit_grants.expire(made.id).expires_at == shop.now
    assert balance(shop) == (0, 0)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.billing.credit_grants.expire(made.id)


def test_only_an_untouched_grant_can_be_voided(shop: Shop) -> None:
    """`/void` works as long as the grant was never applied (API reference)."""
    untouched = grant(shop, 7, priority=99)
    voided = shop.v1.billing.credit_grants.void_grant(untouched.id)
    assert voided.voided_at == shop.now
    assert moves(shop)[-1] == ("credits_voided", 7)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.billing.credit_grants.void_grant(untouched.id)
    shop.subscribe()
    used = grant(shop, 100)
    shop.use("30")
    close_period(shop)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.billing.credit_grants.void_grant(used.id)


def test_voided_invoice_gives_its_credits_back(shop: Shop, emulator: Emulator) -> None:
    """Voiding returns credits; those of an expired grant expire at once (billing credits)."""
    shop.subscribe()
    grant(shop, 100, priority=1)
    grant(shop, 20, expires_at=shop.now + 32 * DAY, priority=0)
    bad = shop.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": shop.customer})
    shop.v1.customers.update(shop.customer, {"invoice_settings": {"default_payment_method": bad.id}})
    shop.use("40")
    invoice = close_period(shop)
    assert (invoice.status, invoice.amount_due) == ("open", 80)
    emulator.clock.advance(DAY)
    shop.v1.invoices.void_invoice(invoice.id)
    assert moves(shop)[-3:] == [
        ("credits_application_invoice_voided", 20),
        ("credits_expired", 20),
        ("credits_application_invoice_voided", 100),
    ]
    assert balance(shop) == (100, 100)


def test_preview_shows_credits_without_using_them(shop: Shop) -> None:
    """`create_preview` carries total_pretax_credit_amounts (API reference)."""
    made = shop.subscribe()
    grant(shop, 100)
    shop.use("30")
    preview = shop.v1.invoices.create_preview({"subscription": made.id})
    assert [row.amount for row in preview.total_pretax_credit_amounts] == [100]
    assert preview.amount_due == 50
    assert balance(shop) == (100, 100)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "n" * 101},
        {"priority": 101},
        {"amount": {"type": "monetary"}},
        {"amount": {"type": "monetary", "monetary": {"currency": "usd", "value": 0}}},
        {"expires_at": 1},
        {"applicability_config": {"scope": {}}},
        {"customer": "cus_none"},
    ],
)
def test_grant_that_makes_no_sense_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """Limits of the API reference."""
    with pytest.raises(stripe.InvalidRequestError):
        grant(shop, 10, **wrong)


def test_grants_are_listed_by_customer_and_told_as_events(shop: Shop) -> None:
    """Lists and events of the API reference."""
    made = grant(shop, 10)
    assert [row.id for row in shop.v1.billing.credit_grants.list({"customer": shop.customer}).data] == [made.id]
    assert shop.v1.billing.credit_grants.list({"customer": "cus_other"}).data == []
    assert shop.v1.billing.credit_grants.retrieve(made.id, {"expand": ["customer"]}).customer.id == shop.customer
    only = shop.v1.billing.credit_balance_transactions.list({"credit_grant": made.id}).data
    assert [row.credit_grant for row in only] == [made.id]
    types = [row.type for row in shop.v1.events.list({"limit": 2}).data]
    assert types == ["billing.credit_balance_transaction.created", "billing.credit_grant.created"]


def test_grant_in_an_unknown_currency_is_refused(shop: Shop) -> None:
    """A grant in a misspelt currency would never pay for anything, and nobody would notice."""
    with pytest.raises(stripe.InvalidRequestError) as error:
        grant(shop, 0, amount={"type": "monetary", "monetary": {"currency": "zzz", "value": 100}})
    assert error.value.param == "amount[monetary][currency]"
