"""The page on which a subscriber changes plans: what changes, when, at which price, and one button.

Owns its words and its form. Works without scripts. The signed token travels in a hidden field, and nothing else says
who is asking, so no other site can send this form for anybody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from stripe_meter.enforcement.changes import Choice, Proposal
from stripe_meter.web.pages import page

if TYPE_CHECKING:
    from stripe_meter.enforcement.shopfront import Shop


def asking(shop: Shop, proposal: Proposal) -> str:
    """The form."""
    marked = proposal.next_plan or proposal.preferred
    choices = "\n".join(_choice(choice, proposal, choice.name == marked) for choice in proposal.choices)
    return page(
        "Change your plan",
        f"""<h1>Change your plan</h1>
<p>{_now(proposal)}</p>
<form method="post" action="change">
<input type="hidden" name="token" value="{escape(proposal.token)}">
{choices}
<p>The change begins on <strong>{_day(proposal.begins)}</strong>. Nothing is charged today; until then your plan and its
prices stay as they are, and what you use is billed as before. After that the card on file pays.</p>
<button>Confirm</button>
</form>
<p class="soft">Close this page to leave everything as it is.</p>""",
        shop,
    )


def changed(shop: Shop, proposal: Proposal) -> str:
    """It is ordered."""
    if proposal.next_plan is None:
        said = f"<p>You stay on <strong>{escape(str(proposal.plan))}</strong>. Nothing was charged.</p>"
    else:
        chosen = next(choice for choice in proposal.choices if choice.name == proposal.next_plan)
        said = (
            f"<p>From <strong>{_day(proposal.begins)}</strong> on you are on <strong>{escape(chosen.name)}</strong>: "
            f"{escape('; '.join(chosen.terms))}.</p>\n<p>Nothing was charged today.</p>"
        )
    return page(
        "Plan changed",
        f'<h1>Done.</h1>\n{said}\n<p class="soft">The link that brought you here changes it again for an hour.</p>',
        shop,
    )


def gone() -> str:
    """The link is nobody's, too old, or its subscription has ended."""
    return page(
        "Link not valid",
        """<h1>This link does not change any plan.</h1>
<p>It may be too old, incomplete, or your subscription has ended or is not paid. Call the tool again to get a new
one.</p>""",
    )


def _now(proposal: Proposal) -> str:
    running = "" if proposal.plan is None else f"You are on <strong>{escape(proposal.plan)}</strong>."
    if proposal.retired is not None:
        running = f"{running} It {proposal.retired}."
    if proposal.next_plan is not None:
        return f"{running} You have chosen <strong>{escape(proposal.next_plan)}</strong> for the next period."
    if proposal.ends:
        return f"{running} It was cancelled and ends on {_day(proposal.begins)}; choosing another plan continues it."
    return running


def _choice(choice: Choice, proposal: Proposal, is_marked: bool) -> str:
    shown = escape(choice.name) + (" (your plan now)" if choice.name == proposal.plan else "")
    terms = "\n".join(f"<span>{escape(line)}</span>" for line in choice.terms)
    checked = " checked" if is_marked else ""
    return (
        f'<label><input type="radio" name="plan" value="{escape(choice.name)}" required{checked}> '
        f"<strong>{shown}</strong>\n{terms}</label>"
    )


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%-d %B %Y}"
