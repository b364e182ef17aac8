"""Tests of webhooks: deliveries, what is done about them, and the endpoints."""
