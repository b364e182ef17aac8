"""Stories of a seller and a caller, told once and run against the emulator, cassettes, or a Stripe test account."""
