"""Properties of the emulator: what must hold for every course of events and for every set of parameters."""
