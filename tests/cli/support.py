"""Running the real command line as a process of its own, within bounds."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
TIMEOUT = 90.0


def environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that configures us, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_", "REDIS_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **more}


def run(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """`stripe-meter ARGUMENTS` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "stripe_meter", *arguments],
        env=environment(**(env or {})),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )


class Running:
    """A command that is running; its output can be waited for line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[str] = []
        self._lines: Queue[str | None] = Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line_with(self, text: str) -> str:
        """The next line of either stream that contains `text`."""
        ended = 0
        while ended < len(self._readers):
            try:
                line = self._lines.get(timeout=TIMEOUT)
            except Empty:
                break
            if line is None:
                ended += 1
                continue
            self.seen.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} never came; what came was:\n" + "\n".join(self.seen))

    def end(self, signum: int = signal.SIGTERM) -> int:
        """Send `signum` and return the exit status."""
        self.process.send_signal(signum)
        return self.process.wait(TIMEOUT)


@contextmanager
def running(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`stripe-meter ARGUMENTS` while the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stripe_meter", *arguments],
        env=environment(**(env or {})),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        command = Running(process)
        try:
            yield command
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(TIMEOUT / 3)
                except subprocess.TimeoutExpired:
                    process.kill()
            for reader in command._readers:
                reader.join(TIMEOUT / 3)


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The one sentence an error must be; stdout must be empty then."""
    assert result.returncode == 1, result.stderr
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: "), result.stderr
    assert "Traceback" not in result.stderr
    return lines[-1]
