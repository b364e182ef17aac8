"""A stand-in for Stripe that runs inside this package: `Emulator` and `EmulatorServer`."""

from stripe_meter.emulator.core import Emulator
from stripe_meter.emulator.server import EmulatorServer

__all__ = ["Emulator", "EmulatorServer"]
