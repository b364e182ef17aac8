"""Strict cassettes: what this library said to Stripe, recorded once, replayed in CI without a key or a network.

    # conftest.py
    pytest_plugins = ["stripe_meter.testing.cassettes"]

    # a test
    @pytest.mark.vcr
    async def test_a_paid_call(): ...

    STRIPE_SECRET_KEY=sk_test_… pytest --record-mode=rewrite      # records
    pytest --block-network                                        # replays

Owns strictness and repeatability; pytest-recording owns marker, options and where files lie. A request that was not
recorded fails the test by name, also when the SDK turned it into an error that somebody handled; so does a recording
that nobody asked for. Needs `pip install 'stripe-meter[cassettes]'`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from unittest.mock import patch

import pytest

try:
    import pytest_recording  # noqa: F401  # its options and fixtures stand behind ours
    from vcr import VCR
    from vcr.cassette import Cassette
    from vcr.errors import CannotOverwriteExistingCassetteException as Missed
    from vcr.persisters.filesystem import FilesystemPersister

    from stripe_meter.testing import traffic
    from stripe_meter.testing.repeatable import repeatable
except ModuleNotFoundError as error:
    raise pytest.UsageError(
        f"stripe_meter.testing.cassettes needs {error.name}; type: pip install 'stripe-meter[cassettes]'"
    ) from None

__all__ = [
    "cassette_clock",
    "pytest_recording_configure",
    "pytest_runtest_call",
    "strict_cassette",
    "vcr_config",
]

#: The MCP SDK's client speaks through these; its traffic is not Stripe's.
_NOT_STRIPE: Final = ("httpx", "httpx2")
#: What is wrong with the replay so far, one entry for each test.
_WRONG: Final = pytest.StashKey[list[str]]()
_FAILED: Final = pytest.StashKey[bool]()


@pytest.fixture
def vcr_config() -> dict[str, Any]:
    """What is written and how it is compared."""
    scrubber = traffic.Scrubber()
    return {
        "before_record_request": scrubber.request,
        "before_record_response": scrubber.response,
        "decode_compressed_response": True,
        "match_on": tuple(traffic.MATCHERS),
        "skip_patchers": _NOT_STRIPE,
    }


@pytest.fixture
def cassette_clock() -> int:
    """The moment at which a recording stands, Unix seconds; a replay stands where its recording stood."""
    return int(time.time())


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(config: pytest.Config, vcr: VCR) -> None:
    """Files that say where they come from, and our comparison."""
    vcr.register_persister(FilesystemPersister)
    vcr.register_serializer("yaml", traffic.Form)
    for name, matcher in traffic.MATCHERS.items():
        vcr.register_matcher(name, matcher)


@pytest.fixture(autouse=True)
def strict_cassette(
    request: pytest.FixtureRequest, vcr: Cassette | None, cassette_clock: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A marked test runs at its recording's time, by its recording's chance, and against nothing but its recording."""
    if vcr is None:
        yield
        return
    is_replay, today = vcr.write_protected, f"{datetime.now(UTC):%Y-%m-%d}"
    if is_replay and not len(vcr):
        pytest.fail(f"nothing is recorded in {vcr.path}; record it with --record-mode=rewrite", pytrace=False)
    # One meter event for each call, in their order: merging depends on how fast the machine is.
    monkeypatch.setenv("STRIPE_METER_DURABILITY", "sync")
    if is_replay:
        _let_it_start_without_a_key(vcr, monkeypatch)
    clock, seed = vcr.get_metadata("clock", cassette_clock), vcr.get_metadata("seed", _seed(request.node))
    with _watching(request.node), repeatable(clock, seed):
        yield
    if request.node.stash.get(_FAILED, False):
        # Half a story is no recording, and why it is half was said already.
        vcr.data.clear()
        vcr.dirty = False
    elif is_replay:
        _report(request.node, [*request.node.stash[_WRONG], *_unplayed(vcr)])
    else:
        source, version = traffic.origin(vcr.requests)
        for name, value in (("source", source), ("recorded", today), ("api_version", version)):
            vcr.get_metadata(name, value)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the test itself for what was missing, whatever the code under test made of it."""
    try:
        result = yield
    except BaseException as error:
        item.stash[_FAILED] = True
        for sentence in item.stash.get(_WRONG, []):
            error.add_note(sentence)
        raise
    wrong = item.stash.get(_WRONG, [])
    item.stash[_FAILED] = bool(wrong)
    _report(item, wrong)
    return result


@contextmanager
def _watching(item: pytest.Item) -> Iterator[None]:
    """Take down every miss where it happens: stripe's SDK makes a connection error of it, which may be handled."""
    wrong = item.stash[_WRONG] = []
    missed, refused = Missed.__init__, traffic.Unrecordable.__init__

    def miss(self: Missed, *args: Any, **kwargs: Any) -> None:
        missed(self, *args, **kwargs)
        wrong.append(f"not recorded: {self}")

    def refuse(self: traffic.Unrecordable, text: str) -> None:
        refused(self, text)
        wrong.append(text)

    with patch.object(Missed, "__init__", miss), patch.object(traffic.Unrecordable, "__init__", refuse):
        yield


def _seed(item: pytest.Item) -> str:
    """One for each test, as two of the same name or with other parameters would send the same identifiers.

    A digest, because parameters may be secret. A replay takes it from the file, so renaming a test spoils nothing.
    """
    return hashlib.sha256(item.nodeid.encode()).hexdigest()[:16]


def _let_it_start_without_a_key(vcr: Cassette, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRIPE_METER_EMULATOR", raising=False)
    if vcr.get_metadata("source", "") == "emulator":
        monkeypatch.setenv("STRIPE_METER_EMULATOR", traffic.STAND_IN)
    else:
        monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_replayed")


def _unplayed(vcr: Cassette) -> list[str]:
    left = [request for number, request in enumerate(vcr.requests) if not vcr.play_counts[number]]
    return [f"recorded in {vcr.path}, but nobody asked for it: {one.method} {one.uri}" for one in left]


def _report(item: pytest.Item, wrong: list[str]) -> None:
    if wrong:
        pytest.fail(f"{item.name} does not do what its cassette says:\n" + "\n".join(wrong), pytrace=False)
