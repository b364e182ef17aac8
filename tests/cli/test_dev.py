"""`stripe-meter dev`: an author's script as it is, against a stand-in."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import QUICKSTART, TIMEOUT, environment, run, running, sentence

KEY = "sk_live" + "_51NeverToBeSeenAnywhere"


def script(folder: Path, text: str) -> str:
    file = folder / "server.py"
    file.write_text(text)
    return str(file)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_the_server_gets_its_arguments_streams_and_a_stand_in(tmp_path: Path) -> None:
    """stdin and stdout belong to the script, the Stripe key does not reach it, a stand-in's address does."""
    file = script(
        tmp_path,
        "import json, os, sys\n"
        "names = ('STRIPE_SECRET_KEY', 'STRIPE_METER_EMULATOR', 'STRIPE_METER_NAMESPACE')\n"
        "print(json.dumps([sys.argv[1:], sys.stdin.read(), [os.environ.get(name) for name in names]]))\n",
    )
    env = {"STRIPE_SECRET_KEY": KEY, "STRIPE_METER_NAMESPACE": "mine"}
    done = run("dev", file, "--port", "1", "x", env=env, stdin="hello")
    assert done.returncode == 0, done.stderr
    arguments, stdin, (key, url, namespace) = json.loads(done.stdout)
    assert arguments == ["--port", "1", "x"]
    assert stdin == "hello"
    assert key is None
    assert namespace == "mine"
    assert url.startswith("http://127.0.0.1:")
    assert url in done.stderr
    assert "4242 4242 4242 4242" in done.stderr
    assert KEY not in done.stderr


@pytest.mark.parametrize(
    ("ending", "status"), [("sys.exit(7)", 7), ("sys.exit(0)", 0), ("os.kill(os.getpid(), signal.SIGKILL)", 137)]
)
def test_the_exit_status_is_the_servers(tmp_path: Path, ending: str, status: int) -> None:
    """A supervisor sees how the server ended; a signal counts as in a shell."""
    assert run("dev", script(tmp_path, f"import os, signal, sys\n{ending}\n")).returncode == status


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_server(tmp_path: Path, signum: signal.Signals) -> None:
    """The server decides how it ends, and its status is the command's."""
    file = script(
        tmp_path,
        "import signal, sys, threading\n"
        "told = threading.Event()\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
        "    signal.signal(number, lambda *_: told.set())\n"
        "print('ready', flush=True)\n"
        "told.wait(60)\n"
        "sys.exit(5)\n",
    )
    command = subprocess.Popen(
        [sys.executable, "-m", "stripe_meter", "dev", file],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # no terminal that would signal the whole group
        text=True,
    )
    with command:
        assert command.stdout is not None
        assert command.stdout.readline() == "ready\n"
        command.send_signal(signum)
        assert command.wait(TIMEOUT) == 5


def test_ctrl_c_in_a_terminal_reaches_the_server_once(tmp_path: Path) -> None:
    """A terminal interrupts the whole group by itself; servers take a second one for "at once"."""
    file = script(
        tmp_path,
        "import signal, sys, threading\n"
        "told = threading.Semaphore(0)\n"
        "signal.signal(signal.SIGINT, lambda *_: told.release())\n"
        "print('ready', flush=True)\n"
        "told.acquire(timeout=60)\n"
        "sys.exit(9 if told.acquire(timeout=1) else 5)\n",
    )
    # A session of its own with this terminal, as a shell would give it.
    shell = (
        "import fcntl, os, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'stripe_meter', 'dev', sys.argv[1]])\n"
    )
    keyboard, terminal = os.openpty()
    try:
        command = subprocess.Popen(
            [sys.executable, "-c", shell, file],
            env=environment(),
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        with command:
            assert command.stdout is not None
            assert command.stdout.readline() == "ready\n"
            os.write(keyboard, b"\x03")
            assert command.wait(TIMEOUT) == 5
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_a_file_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    """The name that was typed is in it."""
    assert "there is no file nothing.py" in sentence(run("dev", "nothing.py", cwd=tmp_path))


def test_the_quickstart_client_gets_what_it_pays_for() -> None:
    """The example's two programs, run as its README says."""
    port = free_port()
    with running("dev", str(QUICKSTART / "server.py"), env={"PORT": str(port)}) as server:
        server.line_with("Uvicorn running on")
        client = subprocess.run(
            [sys.executable, str(QUICKSTART / "client.py"), f"http://127.0.0.1:{port}"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert client.returncode == 0, client.stderr
        assert "refused: summarize costs $0.05" in client.stdout
        assert "receipt: $0.05" in client.stdout
        assert server.end() in {0, 128 + signal.SIGTERM}


def test_the_quickstart_client_fails_when_it_is_served_for_nothing() -> None:
    """The example's checks are real: against a server that charges nothing it ends with status 1."""
    port = free_port()
    env = {"PORT": str(port), "STRIPE_METER_ENABLED": "false"}
    with running("dev", str(QUICKSTART / "server.py"), env=env) as server:
        server.line_with("Uvicorn running on")
        client = subprocess.run(
            [sys.executable, str(QUICKSTART / "client.py"), f"http://127.0.0.1:{port}"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert client.returncode == 1
        assert "a caller who has not paid was served" in client.stderr
