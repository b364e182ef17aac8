"""The card field and the list of test cards, as Checkout, invoice and portal show them.

Owns: these two pieces of a form. Does not own: what the card does (`cards`). The field names its problem to screen
readers when the last card was refused.
"""

from html import escape
from typing import Final

USUAL_CARD: Final = "4242 4242 4242 4242"
TEST_CARDS: Final = (
    (USUAL_CARD, "succeeds"),
    ("4000 0025 0000 3155", "asks for 3-D Secure"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "has insufficient funds"),
    ("4000 0000 0000 0259", "is disputed afterwards"),
)


def card_field(label: str, problem: str | None, typed: str = USUAL_CARD) -> str:
    """The labelled card number."""
    return (
        f'<label for="card">{escape(label)}</label><input id="card" name="card" inputmode="numeric" '
        f'autocomplete="off" required maxlength="30" value="{escape(typed)}"{described(problem)}>'
    )


def described(problem: str | None) -> str:
    """Attributes that tie a field to the message above it."""
    return ' aria-describedby="problem" aria-invalid="true"' if problem else ""


def test_cards() -> str:
    """Which cards work here, folded away."""
    cards = "".join(f"<li><code>{number}</code><span>{what}</span></li>" for number, what in TEST_CARDS)
    return (
        '<details><summary class="soft">Test cards</summary>'
        f'<ul class="rows soft">{cards}</ul></details>'
        '<p class="soft">No real card is accepted and no money moves.</p>'
    )
