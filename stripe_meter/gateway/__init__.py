"""The only place that imports `stripe`: one small class per Stripe resource, our own types in and out."""
