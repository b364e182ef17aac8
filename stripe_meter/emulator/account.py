"""The emulated Stripe account: everything the endpoints work on, in one place.

Owns: the composition of store, clock, ids, usage ledger, journal and switches, and the lock that makes every change
atomic over threads. Does not own: HTTP (`app`) or the rules of any resource. It performs no I/O.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from stripe_meter.emulator.auth import StreamTokens
from stripe_meter.emulator.clock import Clock
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import Journal
from stripe_meter.emulator.ids import Ids
from stripe_meter.emulator.store import Store
from stripe_meter.emulator.usage import Usage

API_VERSION: Final = "2026-10-28.endive"
GRACE_SECONDS: Final = 3600


@dataclass(slots=True)
class Switches:
    """Behaviour on which sources disagree or which tests turn. Lags and grace are seconds; rate is requests/s."""

    lag: float = 0.3
    search_lag: float = 0.0
    grace: float = GRACE_SECONDS
    duplicate_identifier: Literal["error", "silent"] = "error"
    unknown_meter: Literal["async", "sync"] = "async"
    remote_webhooks: bool = False
    rate_limit: int | None = None
    stream: Literal["allowed", "refused"] = "allowed"
    shared_identifiers: bool = False
    report_window: float = 1.0
    webhook_duplicates: int = 0
    webhook_order: Literal["arrival", "reversed", "shuffled"] = "arrival"
    webhook_seed: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """Which request is being served; written into the events it causes."""

    id: str | None = None
    idempotency_key: str | None = None


class Account:
    """State of one emulated account; hold `lock` while touching it from outside a request."""

    def __init__(self, merchant: str, switches: Switches, ids: Ids) -> None:
        self.lock = threading.RLock()
        self.merchant = merchant
        self.switches = switches
        self.ids = ids
        self.clock = Clock(self.lock)
        self.id = ids.new("acct")
        self.opened = self.clock.seconds()
        self.store = Store()
        self.usage = Usage()
        self.stream_tokens = StreamTokens()
        self.journal = Journal()
        self.base_url = "http://127.0.0.1"
        self.caller = Caller()
        self.watch_event: Callable[[str, JSON], None] = lambda type, row: None
        # Card numbers behind payment methods, invoice lines not billed yet, and the search index: facts Stripe
        # keeps as well but does not show on the objects.
        self.cards: dict[str, str] = {}
        self.pending_lines: dict[str, list[JSON]] = {}
        self.invoice_specs: dict[str, list[JSON]] = {}
        self.webhook_secrets: dict[str, str] = {}
        self.checkout_data: dict[str, JSON] = {}
        # Per metered item: since when, and how much of the period's usage, an earlier invoice has billed.
        self.billed_from: dict[str, int] = {}
        self.billed_before: dict[str, Decimal] = {}
        # Subscriptions with a billing threshold, so that counting usage does not look through all of them.
        self.with_threshold: set[str] = set()
        self.threshold_times: defaultdict[str, list[int]] = defaultdict(list)
        # By invoice: what to do with a subscription once a change that waits for its payment is paid.
        self.pending_updates: dict[str, Callable[[], None]] = {}
        self.search_index: dict[str, JSON] = {}
        self.credit_moves: defaultdict[str, list[JSON]] = defaultdict(list)
        self.credit_uses: dict[str, list[tuple[str, str, int]]] = {}
        self.feature_products: dict[str, str] = {}
        self.item_features: dict[tuple[str, str], list[str]] = {}
        self.entitled: dict[str, dict[str, str]] = {}
        self.destination_urls: dict[str, str] = {}
        self.rejections: dict[str | None, list[JSON]] = {}
        self.alert_starts: dict[str, int] = {}
        self.alerts_fired: set[tuple[str, str]] = set()
        self.meter_errors: deque[JSON] = deque(maxlen=1000)

    def now(self) -> int:
        """Whole epoch seconds of the emulator's clock."""
        return self.clock.seconds()
