"""The pages' HTML: no scripts, no assets from elsewhere, readable at 360 px, in light and dark.

Owns the frame and what each page says. Everything that came from outside is escaped. Knows nothing of HTTP.
"""

from __future__ import annotations

from html import escape
from string import Template
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stripe_meter.enforcement.shopfront import Shop

_FRAME: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1a2230; --soft: #5b6675; --line: #d9dee6; --paper: #f6f8fb; --card: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ecf2; --soft: #9aa6b6; --line: #2e3846; --paper: #10151d; --card: #18202b; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 34rem; margin: 6vh auto 0; padding: 1.75rem 1.5rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }
h1 { margin: 0 0 .75rem; font-size: 1.4rem; line-height: 1.25; }
p { margin: .75rem 0; }
.soft { color: var(--soft); font-size: .9rem; }
code, pre { font: .9rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre, code.key { display: block; padding: .75rem .9rem; margin: .75rem 0; background: var(--paper);
  border: 1px solid var(--line); border-radius: .5rem; overflow-wrap: anywhere; white-space: pre-wrap; }
code.key { user-select: all; }
label { display: block; padding: .75rem .9rem; margin: .75rem 0; border: 1px solid var(--line); border-radius: .5rem;
  overflow-wrap: anywhere; cursor: pointer; }
label span { display: block; padding-left: 1.6rem; }
input[name="key"] { width: 100%; padding: .7rem; font: inherit; }
button { width: 100%; min-height: 3rem; padding: .7rem 1rem; border: 0; border-radius: .5rem; background: var(--ink);
  color: var(--card); font: inherit; font-weight: 600; cursor: pointer; }
button.quiet { background: none; color: inherit; border: 1px solid var(--line); }
form { margin: .75rem 0; }
header { display: flex; flex-wrap: wrap; gap: .25rem .75rem; justify-content: space-between; margin: 0 0 1rem;
  color: var(--soft); font-size: .9rem; overflow-wrap: anywhere; }
header strong { color: var(--ink); }
.test { padding: 0 .5rem; border: 1px solid currentcolor; border-radius: .5rem; }
a { color: inherit; }
</style>
</head>
<body><main>
$header$body
</main></body>
</html>
""")


def page(title: str, body: str, shop: Shop | None = None) -> str:
    """A whole page; `body` is HTML, `title` text. It names the seller, and says so when no real money moves."""
    return _FRAME.substitute(title=escape(title), header=_header(shop), body=body)


def _header(shop: Shop | None) -> str:
    if shop is None:
        return ""
    name = f"<strong>{escape(shop.merchant)}</strong>" if shop.merchant else "<span></span>"
    test = "" if shop.mode == "live" else '<span class="test">Test mode: no real money moves</span>'
    return f"<header>{name}{test}</header>\n" if shop.merchant or test else ""


SIGNED_UP: Final = "Signed up"


def key_shown(shop: Shop, key: str, did: str, *, has_card: bool) -> str:
    """Here is the key, this once.

    Args:
        did: What they did for it, such as `Paid $5.00`.
        has_card: Calls by this key are charged to a card.
    """
    warning = "spend on your card" if has_card else "use up what it is good for"
    return page(
        f"{did} – your API key",
        f"""<h1>{escape(did)}. This is your API key.</h1>
<p>It is shown <strong>only now</strong>: copy it before you close this page.</p>
<code class="key" id="api-key">{escape(key)}</code>
<p>Send it with every call, in the <code>x-api-key</code> header. Most MCP clients take this beside the server's
address:</p>
<pre>"headers": {{"x-api-key": "{escape(key)}"}}</pre>
<p>For a server that runs on your own machine (stdio), set <code>STRIPE_METER_API_KEY</code> in its environment.</p>
<p class="soft">Then call the tool again. Whoever has this key can {warning}: treat it like a password.</p>""",
        shop,
    )


def key_was_shown(shop: Shop, did: str) -> str:
    """Somebody has seen the key before."""
    return page(
        did,
        f"""<h1>{escape(did)}. Your API key was shown already.</h1>
<p>A key is shown once. If you have never seen it, load this page again in a minute. If you did not keep it, ask the
seller for a new one; they can revoke the old one.</p>""",
        shop,
    )


def key_too_late(shop: Shop, did: str) -> str:
    """They paid, and come for the key when it is not shown any more."""
    return page(
        did,
        f"""<h1>{escape(did)}. Your API key is not shown here any more.</h1>
<p>This page shows it for a day after paying. If you have none, ask the seller for one, and tell them the e-mail address
that you paid with. What you bought is yours.</p>""",
        shop,
    )


def paid(shop: Shop, did: str) -> str:
    """By somebody who needs no key."""
    return page(did, f"<h1>{escape(did)}.</h1>\n<p>Go back to your assistant and call the tool again.</p>", shop)


def pending(shop: Shop) -> str:
    """A bank debit takes days, and nothing is given before."""
    return page(
        "Payment on its way",
        """<h1>Your bank has been asked to pay.</h1>
<p>That can take some days. What you bought is yours as soon as the money has arrived.</p>
<p class="soft">If you have no API key yet, ask the seller for one then.</p>""",
        shop,
    )


def card_saved(shop: Shop) -> str:
    """A card is on file; nothing was paid."""
    return page(
        "Card saved",
        "<h1>Your card is saved.</h1>\n<p>Nothing was charged. You can close this page.</p>",
        shop,
    )


def top_ups_stopped(shop: Shop) -> str:
    """Nothing is bought by itself any more."""
    return page(
        "Automatic top-ups are stopped",
        """<h1>Automatic top-ups are stopped.</h1>
<p>Nothing is bought with your card by itself any more, until you agree to that anew. Your credits stay yours.</p>""",
        shop,
    )


def done(shop: Shop) -> str:
    """Back from the portal."""
    return page("Done", "<h1>Done.</h1>\n<p>You can close this page and go back to your assistant.</p>", shop)


def cancelled(shop: Shop) -> str:
    """Came back without paying."""
    return page(
        "Not paid",
        "<h1>Nothing was charged.</h1>\n<p>The link your assistant showed you stays open if you change your mind.</p>",
        shop,
    )


def not_found() -> str:
    """The link names no finished payment, or not this payer's."""
    return page(
        "Unknown payment",
        """<h1>This link does not belong to a finished payment.</h1>
<p>It may be too old, incomplete, or not paid yet. Call the tool again to get a new link.</p>""",
    )
