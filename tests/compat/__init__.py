"""One suite for every framework line, which needs nothing but that framework and pytest."""
