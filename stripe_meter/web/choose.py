"""The pages on which somebody chooses: a plan or credits, a free key, the card on file.

Owns their words and their forms. They work without scripts. Each form carries the signed link in a hidden field, and
nothing else says who is asking, so no other site can send it for anybody.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from stripe_meter.web.pages import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stripe_meter.enforcement.shopfront import Shop, Ware, Window


def plans(shop: Shop, window: Window, token: str, *, tool: str, portal: str | None) -> str:
    """What can be bought, with one button.

    Args:
        token: What the form is signed with.
        tool: What they wanted to call, or empty.
        portal: What lets a known customer manage what they have, or None.
    """
    why = f" to call <strong>{escape(tool)}</strong>" if tool else ""
    chosen = "\n".join(_ware(ware, is_first=index == 0) for index, ware in enumerate(window.wares))
    offers = (
        f"""<form method="post" action="checkout">
{_hidden(token)}
{chosen}
<button>Go on to payment</button>
</form>
<p class="soft">You pay on a page of Stripe's. Nothing is charged before you confirm there.</p>"""
        if window.wares
        else "<p>Nothing is for sale to you here just now.</p>"
    )
    free = (
        f'\n<p>Or <a href="signup">get a free key</a> without paying: {escape(window.free)}.</p>' if window.free else ""
    )
    manage = ""
    if portal is not None:
        manage = f'\n<p><a href="portal?{urlencode({"token": portal})}">Manage your card, invoices and plan</a></p>'
    return page("Choose how to pay", f"<h1>Choose how to pay{why}</h1>\n{offers}{free}{manage}", shop)


def packs(shop: Shop, wares: Sequence[Ware], token: str) -> str:
    """Credits that are sold by a lasting link."""
    chosen = "\n".join(_ware(ware, is_first=index == 0, field="pack") for index, ware in enumerate(wares))
    body = f"""<h1>Buy credits</h1>
<form method="post" action="links">
{_hidden(token)}
{chosen}
<button>Go on to payment</button>
</form>
<p class="soft">You pay on a page of Stripe's. Nothing is charged before you confirm there.</p>"""
    return page("Buy credits", body if wares else "<h1>No credits are for sale here.</h1>", shop)


def signup(shop: Shop, free: str, token: str) -> str:
    """A key without paying."""
    return page(
        "Get a free API key",
        f"""<h1>Get a free API key</h1>
<p>With it you have <strong>{escape(free)}</strong>. You pay nothing, and no card is asked for.</p>
<form method="post" action="signup">
{_hidden(token)}
<button>Get my key</button>
</form>
<p class="soft">The key is shown once, on the next page.</p>""",
        shop,
    )


def portal(shop: Shop, token: str, *, tops_up: bool) -> str:
    """To Stripe's page on which customers manage what they have; `tops_up` where packs are bought by themselves."""
    stop = f"\n{_stop_button(token)}" if tops_up else ""
    return page(
        "Manage your billing",
        f"""<h1>Manage your billing</h1>
<p>On Stripe's page you change your card, read your invoices, or cancel. What you have paid for stays yours until the
end of its period.</p>
{_button("portal", token, "", "Open my billing page")}
{_button("portal", token, "payment_method_update", "Change my card")}
{_button("portal", token, "subscription_cancel", "Cancel my subscription")}{stop}""",
        shop,
    )


def setup(shop: Shop, token: str, consent: str | None) -> str:
    """To Stripe's page that saves a card; `consent` is what saving it agrees to, where it does."""
    agreed = "" if consent is None else f"\n<p>By saving it you agree to this: {escape(consent)}</p>"
    return page(
        "Save a card",
        f"""<h1>Save a card</h1>
<p>On Stripe's page you save a card for later payments. <strong>Nothing is charged today.</strong></p>{agreed}
{_button("setup", token, "", "Go on")}""",
        shop,
    )


def top_ups(shop: Shop, token: str | None) -> str:
    """Ends automatic top-ups, of whom the link names, or of whom the API key belongs to."""
    form = (
        """<form method="post" action="top-ups">
<p><input name="key" type="password" autocomplete="off" required aria-label="Your API key" placeholder="smk_…"></p>
<button>Stop automatic top-ups</button>
</form>
<p class="soft">Type in your API key, so that nobody else can do this for you.</p>"""
        if token is None
        else _stop_button(token)
    )
    return page(
        "Automatic top-ups",
        f"""<h1>Automatic top-ups</h1>
<p>If you agreed that more credits are bought with your card when yours run out, you can end that here.</p>
{form}""",
        shop,
    )


def _stop_button(token: str) -> str:
    return _button("top-ups", token, "", "Stop automatic top-ups", is_quiet=True)


def _button(action: str, token: str, flow: str, says: str, *, is_quiet: bool = False) -> str:
    extra = f'\n<input type="hidden" name="flow" value="{flow}">' if flow else ""
    quiet = ' class="quiet"' if flow or is_quiet else ""
    return f'<form method="post" action="{action}">\n{_hidden(token)}{extra}\n<button{quiet}>{says}</button>\n</form>'


def _ware(ware: Ware, *, is_first: bool, field: str = "choice") -> str:
    value = ware.pack if field == "pack" else f"{ware.plan}:{ware.pack}" if ware.pack else ware.plan
    amount, *terms = ware.terms
    lines = "\n".join(f"<span>{escape(line)}</span>" for line in terms)
    checked = " checked" if is_first else ""
    return (
        f'<label><input type="radio" name="{field}" value="{escape(value or "")}" required{checked}> '
        f"<strong>{escape(ware.title)}</strong>\n<span><strong>{escape(amount)}</strong></span>\n{lines}</label>"
    )


def _hidden(token: str) -> str:
    return f'<input type="hidden" name="token" value="{escape(token)}">'
