"""Money, rates, plans, identities, accounts and meter events: pure values, no I/O, standard library only."""
