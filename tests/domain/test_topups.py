"""Whether what is sold today is still what somebody agreed to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stripe_meter.domain.topups import TopUpTerms

AGREED = TopUpTerms("starter", 100, 999, "usd", 5)


@pytest.mark.parametrize(
    ("change", "is_covered"),
    [
        ({"amount": 1000}, False),
        ({"credits": 99}, False),
        ({"currency": "eur"}, False),
        ({"pack": "large"}, False),
        ({"amount": 899, "credits": 120}, True),
        ({"limit": 50}, True),
    ],
    ids=["dearer", "smaller", "another currency", "another pack", "better", "more often"],
)
def test_nobody_is_charged_on_worse_terms(change: dict[str, object], is_covered: bool) -> None:
    """A card is charged without its owner only for what they agreed to; how often is bounded by their own limit."""
    assert AGREED.cover(replace(AGREED, **change)) is is_covered  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "off_session", "starter 100 999 usd", "starter many 999 usd 5"])
def test_what_somebody_else_wrote_is_no_consent(text: str) -> None:
    """Metadata can be written in the Dashboard, and a doubt means a link in place of a charge."""
    assert TopUpTerms.parse(text) is None
    assert TopUpTerms.parse(str(AGREED)) == AGREED
