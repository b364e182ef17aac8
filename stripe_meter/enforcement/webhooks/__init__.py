"""Webhooks: what Stripe tells of its own accord, and what is done about each kind of it."""
