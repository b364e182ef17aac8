"""Who calls: keys, tokens, the author's own word, and nobody at all."""
