"""What guards the seller: rate limits, the audit log, traces, explanations, and what agents may do themselves."""
