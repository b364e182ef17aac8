"""What a seller's own code asks for: links, saved cards, charges, top-ups."""
