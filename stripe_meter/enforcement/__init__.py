"""Who may call, and how their usage reaches Stripe: cache, gate, purchases, flusher, and the engine over them."""
