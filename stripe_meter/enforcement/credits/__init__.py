"""Prepaid credits: a hard stop that holds over processes, with Stripe's customer balance as the only ledger."""
