"""`python -m stripe_meter.emulator --port 4242`: the emulator on its own until interrupted."""

import argparse
import threading
from collections.abc import Sequence

from stripe_meter.emulator import Emulator, EmulatorServer


def main(arguments: Sequence[str] | None = None, stop: threading.Event | None = None) -> int:
    """Serve until `stop` is set or the process is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m stripe_meter.emulator", description="A stand-in for Stripe.")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to bind")
    parser.add_argument("--port", type=int, default=4242, help="port to bind, 0 for a free one")
    parser.add_argument("--merchant", default="Demo Seller", help="seller shown on pages and invoices")
    parser.add_argument("--lag", type=float, default=0.3, help="seconds until meter events are counted")
    parser.add_argument("--deterministic", action="store_true", help="counted ids instead of random ones")
    parser.add_argument("--http-log", default=None, help="file for one JSON line per API request")
    chosen = parser.parse_args(arguments)
    emulator = Emulator(chosen.merchant, lag=chosen.lag, deterministic=chosen.deterministic, http_log=chosen.http_log)
    stop = stop or threading.Event()
    with EmulatorServer(emulator, chosen.host, chosen.port) as server:
        print(f"Stripe emulator on {server.url} (overview in a browser, API under {server.url}/v1)", flush=True)
        try:
            stop.wait()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
