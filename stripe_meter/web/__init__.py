"""The pages a payer's browser meets; the only place beside the emulator that imports Starlette."""
