"""Charge for the tools of an MCP server; Stripe keeps the books."""
__version__ = "0.1.0"
