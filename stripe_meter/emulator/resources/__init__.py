"""One module per Stripe resource, each with the table of its operations."""
