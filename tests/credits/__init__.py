"""Credits: the model of the protocol, and the real code under an adversary."""
