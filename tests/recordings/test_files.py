"""What lies in `cassettes/`: where it says it comes from, and that nothing secret is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.recordings.support import CASSETTES, ROOT

RECORDINGS = sorted(CASSETTES.rglob("*.yaml"))
SOURCES = {"emulator": "emulator", "stripe": "Stripe test mode"}


def test_every_recording_is_of_a_story() -> None:
    """A renamed story leaves its recording behind. (One without a recording fails by itself.)"""
    texts = [path.read_text() for path in (ROOT / "tests/scenarios").glob("test_*.py")]
    stories = {name for text in texts for name in re.findall(r"^async def test_(\w+)", text, re.MULTILINE)}
    assert RECORDINGS
    assert {path.stem for path in RECORDINGS} <= stories


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recording_says_where_it_comes_from(path: Path) -> None:
    """A recording of the emulator must never be taken for one of Stripe."""
    metadata = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["metadata"]
    assert metadata["source"] == SOURCES[path.parent.name]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", metadata["recorded"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\d\.\w+", metadata["api_version"])


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_recording_holds_a_secret_or_an_address_of_somebody(path: Path) -> None:
    """What is recorded is published with the repository."""
    text = path.read_text()
    assert not re.findall(r"\b(?:sk|rk)_\w+|whsec_(?!REDACTED)\w+|smk_(?!cus_REDACTED)\w+|Bearer\s+\S+", text)
    assert not re.findall(r"authorization|user-agent|cookie", text, re.IGNORECASE)
    addresses = {address.lower() for address in re.findall(r"[\w.+-]+(?:@|%40)[\w.-]+\w", text)}
    assert all(re.search(r"(@|%40)example\.com$", address) for address in addresses), addresses


def test_the_search_for_secrets_finds_what_it_looks_for(tmp_path: Path) -> None:
    """A search that finds nothing anywhere would always pass."""
    for secret in ("sk_test_abc", "rk_live_abc", "whsec_abc", "smk_cus_1_abc", "Bearer abc", "someone@example.org"):
        (tmp_path / "leak.yaml").write_text(f"body: '{secret}'\n")
        with pytest.raises(AssertionError):
            test_no_recording_holds_a_secret_or_an_address_of_somebody(tmp_path / "leak.yaml")
