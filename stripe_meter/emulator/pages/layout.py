"""The look that all pages share: one style sheet, one frame, escaped text.

Owns: HTML around content, and small builders that escape. Does not own: content. Pages work without JavaScript and
without anything from another host, hold at 360 px, and follow the reader's choice of light or dark.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from starlette.responses import HTMLResponse

STYLE: Final = """
:root{color-scheme:light dark;--back:#f4f5f8;--card:#fff;--text:#1a1f36;--soft:#545969;--line:#e0e4ea;--key:#4f46c8;
--on-key:#fff;--bad:#a6192e;--bad-back:#fdecee;--good:#0b6b3a;--mark:#fff4d1;--mark-text:#5c4300}
@media(prefers-color-scheme:dark){:root{--back:#11141c;--card:#1b202b;--text:#eef0f6;--soft:#aab1c2;--line:#343b4a;
--key:#a5a0ff;--on-key:#14122e;--bad:#ffb3bd;--bad-back:#43151d;--good:#7ee0a8;--mark:#3d3210;--mark-text:#ffe08a}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,"Segoe UI",Roboto,sans-serif;
overflow-wrap:break-word}
main{max-width:30rem;margin:0 auto;padding:1rem}
main.wide{max-width:70rem}
.mode{margin:0;padding:.4rem 1rem;background:var(--mark);color:var(--mark-text);text-align:center;font-size:.8rem;
font-weight:600;letter-spacing:.02em}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.25rem;margin:1rem 0}
h1{font-size:1.35rem;line-height:1.25;margin:.25rem 0 .5rem}
h2,caption{font-size:1.05rem;font-weight:700;line-height:1.5;margin:0 0 .5rem}
p{margin:.5rem 0}
.soft{color:var(--soft);font-size:.9rem}
.rows{list-style:none;margin:0;padding:0}
.rows li{display:flex;justify-content:space-between;gap:1rem;padding:.6rem 0;border-top:1px solid var(--line)}
.rows li:first-child{border-top:0}
.rows span:first-child,td{overflow-wrap:anywhere}
.amount{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.total{font-weight:700}
label{display:block;font-weight:600;margin-top:.9rem}
input{width:100%;margin-top:.3rem;padding:.7rem;font:inherit;color:inherit;background:var(--back);
border:1px solid var(--soft);border-radius:8px}
button,.button{display:block;width:100%;margin-top:1.1rem;padding:.8rem;font:inherit;font-weight:600;text-align:center;
color:var(--on-key);background:var(--key);border:2px solid var(--key);border-radius:8px;cursor:pointer}
button.quiet{color:var(--key);background:transparent}
a{color:var(--key)}
a.cancel{display:block;margin-top:1rem;text-align:center}
:focus-visible{outline:3px solid var(--key);outline-offset:2px}
.alert{background:var(--bad-back);color:var(--bad);border:1px solid var(--bad);border-radius:8px;
padding:.7rem;margin:0 0 1rem}
.status{display:inline-block;padding:.05rem .55rem;border:1px solid currentColor;border-radius:99px;font-size:.8rem;
white-space:nowrap}
.paid,.active,.complete,.succeeded{color:var(--good)}
.past_due,.void,.canceled,.failed{color:var(--bad)}
.scroll{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:.9rem}
caption{text-align:left;padding-bottom:.5rem}
th{text-align:left;color:var(--soft);font-weight:600}
th,td{padding:.45rem .75rem .45rem 0;border-top:1px solid var(--line);vertical-align:top}
@media(min-width:40rem){th,td{min-width:5rem}}
@media(max-width:30rem){.wide .card{padding:.9rem}.wide table{font-size:.8rem}.wide td,.wide th{padding-right:.5rem}
.wide .status{padding:0 .35rem;font-size:.72rem}}
code{font-size:.85em;overflow-wrap:anywhere}
details summary{cursor:pointer;margin-top:.9rem}
"""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(title: str, content: str, status: int = 200, wide: bool = False) -> HTMLResponse:
    """A whole page; `title` is escaped here, `content` must be HTML already."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        '<p class="mode">TEST MODE \u2013 stand-in for Stripe</p>'
        f"<main{' class=wide' if wide else ''}>{content}</main></body></html>"
    )
    return HTMLResponse(text, status, HEADERS)


def not_found(what: str) -> HTMLResponse:
    """A page for something that does not exist."""
    return page("Not found", f'<div class="card"><h1>Not found</h1><p>{escape(what)}</p></div>', 404)


def alert(message: str | None) -> str:
    """A message that screen readers announce, or nothing."""
    return f'<div class="alert" role="alert" id="problem">{escape(message)}</div>' if message else ""


def rows(lines: Iterable[tuple[str, str]], total: tuple[str, str] | None = None) -> str:
    """Label and amount side by side; the parts must be HTML already."""
    shown = [f'<li><span>{left}</span><span class="amount">{right}</span></li>' for left, right in lines]
    if total is not None:
        shown.append(f'<li class="total"><span>{total[0]}</span><span class="amount">{total[1]}</span></li>')
    return f'<ul class="rows">{"".join(shown)}</ul>'


def table(caption: str, heads: Sequence[str], lines: Iterable[Sequence[str]], empty: str = "None yet.") -> str:
    """A table in a box that scrolls by itself on narrow screens; cells must be HTML already."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    if not body:
        return f'<section class="card"><h2>{escape(caption)}</h2><p class="soft">{escape(empty)}</p></section>'
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return (
        f'<section class="card"><div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def badge(status: str) -> str:
    """A status in a coloured pill; the word itself carries the meaning."""
    return f'<span class="status {escape(status)}">{escape(status.replace("_", " "))}</span>'


def moment(seconds: float) -> str:
    """A time for people, in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
