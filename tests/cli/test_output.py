"""What is told on a terminal and what elsewhere."""

from io import StringIO

from stripe_meter.cli.output import Teller, ascii_text


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_signs() -> None:
    """On a terminal a step keeps its sign and its typography, and brackets are no markup."""
    stream = Terminal()
    teller = Teller(stream)
    teller.step(3, "Checkout", "paid → cus_1 [bold]", "✓")
    teller.line("12 × €0.05")
    assert "✓" in stream.getvalue()
    assert "paid → cus_1 [bold]" in stream.getvalue()
    assert "12 × €0.05" in stream.getvalue()


def test_anything_else_gets_ascii() -> None:
    """In a log the same step is plain."""
    stream = StringIO()
    Teller(stream).step(3, "Checkout", "paid → cus_1", "✓")
    Teller(stream).pair("Pay", "£1 – ¥5 …")
    assert stream.getvalue() == "3  Checkout              ok paid -> cus_1\nPay           GBP 1 - JPY 5 ...\n"


def test_what_has_no_plain_form_becomes_a_question_mark() -> None:
    """ASCII means ASCII, whatever a server's text holds."""
    assert ascii_text("naïve ✓ 海") == "na?ve ok ?"
