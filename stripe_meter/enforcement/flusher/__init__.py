"""Usage on its way to Stripe: merged in memory, sealed when sent, repeated until Stripe has it."""
