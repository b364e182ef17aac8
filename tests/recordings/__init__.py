"""The machinery behind the scenarios: recordings, strict replay, and the road to a Stripe test account."""
