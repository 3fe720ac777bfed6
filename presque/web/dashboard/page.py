"""The page at `/`: the queues and their counts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from presque.web.answers import answer
from presque.web.auth import is_restricted
from presque.web.readable import page_of_names

if TYPE_CHECKING:
    from presque.http.request import Request
    from presque.http.routes import Routes
    from presque.jobs.queue_list import QueueList
    from presque.jobs.queues import Counts

MOST_LISTED = 1000  # queues

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:right;padding:.3rem .6rem;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left;overflow-wrap:anywhere}"
)
COLUMNS = ("queue", "ready", "delayed", "leased", "dead", "fetched", "failed", "policy")


def add(routes: Routes, queue_list: QueueList) -> None:
    """Declare the page."""

    @routes.at(
        "GET",
        "/",
        summary="A page with the queues and their counts.",
        name="showPage",
        scope="read",
        answers={200: str},
    )
    async def page(request: Request) -> bytes:
        names, following, missing = await page_of_names(request, queue_list, "", MOST_LISTED)
        counts, more_missing = await queue_list.overview(names)
        is_partial = following is not None and not is_restricted(request, "read")
        total = await queue_list.size() if is_partial else len(names)
        request.set_header(b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'")
        return answer(
            request,
            200,
            _page(total, list(counts.items()), {*missing, *more_missing}).encode(),
            b"text/html; charset=utf-8",
        )


def _page(total: int, rows: list[tuple[str, Counts]], missing: set[int]) -> str:
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    body = "".join(_row(name, counts) for name, counts in rows)
    more = f"<p>and {total - len(rows)} more</p>" if total > len(rows) else ""
    absent = f"partition{'s' if len(missing) > 1 else ''} {', '.join(map(str, sorted(missing)))}"
    more += f"<p>Not listed, because they did not answer: {absent}</p>" if missing else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else "<p>No queues yet.</p>"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>presque</title><style>{STYLE}</style>"
        f"<h1>presque</h1><p>{total} queue{'' if total == 1 else 's'}</p>{table}{more}</html>\n"
    )


def _row(name: str, counts: Counts) -> str:
    policy = "closed" if counts.paused else "open"
    figures = (counts.ready, counts.delayed, counts.leased, counts.dead, counts.processed, counts.failed, policy)
    return f"<tr><td>{escape(name)}</td>{''.join(f'<td>{figure}</td>' for figure in figures)}</tr>"
