"""Horizontal bars as SVG, in a few lines: groups of bars, each group with a scale of its own, and marks for goals.

The background is drawn, so that a page in dark colours shows the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.goals_cpu import GET, GOALS_BY_BARE, POST
from benchmarks.stage import shown

WIDTH = 860  # pixels
LABELS = 250  # where the bars begin
LONGEST = 360  # pixels of the longest bar of a group
ROW, BAR = 24, 15  # pixels from bar to bar, and of a bar
MARGIN = 20
OURS, OTHERS, MISSED, MARK = "#2f6f9f", "#a9b4bd", "#c0492f", "#1c1c1c"
STYLE = "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1c1c1c}"
STYLES = ".title{font-size:16px;font-weight:600}.group{font-weight:600}.small{font-size:12px;fill:#555}"


@dataclass(frozen=True)
class Bar:
    """One bar. `goal` is where its mark stands, on the scale of the values; `said` stands behind the number."""

    label: str
    value: float
    said: str = ""
    goal: float | None = None
    colour: str = OURS


@dataclass(frozen=True)
class Group:
    """Bars that can be compared."""

    title: str
    bars: list[Bar]


def draw(path: str, title: str, groups: list[Group], foot: list[str]) -> None:
    """Write the picture."""
    parts, at = [], MARGIN + 16
    parts.append(_text(MARGIN, at, title, "title"))
    for group in (group for group in groups if group.bars):
        at += 34
        parts.append(_text(MARGIN, at, group.title, "group"))
        most = max(max(bar.value, bar.goal or 0) for bar in group.bars) or 1
        for bar in group.bars:
            at += ROW
            parts.append(_bar(bar, at, LONGEST / most))
    at += 14
    for line in foot:
        at += 18
        parts.append(_text(MARGIN, at, line, "small"))
    height = at + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    ground = f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#fff" stroke="#d0d7de"/>'
    name = f"<title>{escape(title)}</title>"
    lines = [f'{head} role="img">', name, f"<style>{STYLE}{STYLES}</style>", ground, *parts, "</svg>", ""]
    Path(path).write_text("\n".join(lines))


def _bar(bar: Bar, at: int, scale: float) -> str:
    top, length = at - BAR + 3, max(1.0, bar.value * scale)
    end = LABELS + length
    drawn = f'<rect x="{LABELS}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{bar.colour}"/>'
    if bar.goal is not None:
        x = LABELS + bar.goal * scale
        drawn += f'<path d="M{x:.1f} {top - 3}v{BAR + 6}" stroke="{MARK}" stroke-width="2"/>'
        end = max(end, x)
    label = f'<text x="{LABELS - 10}" y="{at}" text-anchor="end">{escape(bar.label)}</text>'
    return label + drawn + _text(end + 8, at, f"{shown(bar.value)} {bar.said}".strip())


def _text(x: float, y: int, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y}"{named}>{escape(text)}</text>'


def _foot(machine: dict[str, Any]) -> list[str]:
    versions = machine["versions"]
    names = ("presque", "Python", "Twisted", "redis-server")
    used = ", ".join(f"{name} {versions[name]}" for name in names)
    short = "; a short run, which proves nothing" if machine["short"] else ""
    where = f"{machine['cpu']}, {machine['cores']} cores, which Redis and the load share; {machine['at'][:10]}{short}"
    return [used, where]


def draw_speed(path: str, machine: dict[str, Any], goals: list[dict[str, Any]]) -> None:
    """The goals of `benchmarks.speed` as bars, as far as they were measured."""
    lines = {line["what"] + "|" + line["unit"]: line for goal in goals for line in goal["lines"] if line["values"]}
    groups = [
        Group("One job a request: CPU time of the daemon, µs (shorter is better)", _beside_bare(lines)),
        Group(
            "Batches of 100, jobs a second",
            _with_goals(
                lines,
                ("put in: POST /qb", "POST /qb, batches of 100|jobs/s", 50_000),
                ("taken: GET /qb", "GET /qb, batches of 100|jobs/s", 50_000),
                ("leased and acknowledged: /v1", "/v1 reserve + ack, batches of 100|jobs/s", 25_000),
            ),
        ),
        Group(
            "From an insertion to a consumer that waits for it, milliseconds (shorter is better)",
            _with_goals(
                lines,
                ("median", "insertion to a waiting consumer, p50|ms", 2),
                ("99 of 100 within", "insertion to a waiting consumer, p99|ms", 10),
            ),
        ),
        Group(
            "Memory in Redis, bytes a job beyond its body (shorter is better)",
            _with_goals(
                lines,
                ("ready", "a ready job|bytes", 100),
                ("delayed", "a delayed job|bytes", None),
                ("leased", "a leased job|bytes", None),
                ("dead", "a dead job|bytes", None),
            ),
        ),
    ]
    draw(
        path,
        "presque: speed, and its goals",
        groups,
        ["The dark mark is the goal; a red bar missed it.", *_foot(machine)],
    )


def _beside_bare(lines: dict[str, dict[str, Any]]) -> list[Bar]:
    """The daemon's CPU time beside that of a bare resource; red where the ratio missed its goal."""
    bars = []
    for verb, name, does in (("POST", POST, "put in: POST /q"), ("GET", GET, "taken: GET /q, delivered")):
        mine, bare, ratio = (
            lines.get(key) for key in (f"{name}|µs, daemon", f"bare {verb}|µs, daemon", f"{name}|× bare")
        )
        if not (mine and bare and ratio):
            continue
        colour = MISSED if ratio["held"] is False else OURS
        mark = GOALS_BY_BARE[name] * bare["median"]
        bars.append(Bar(does, mine["median"], f"({ratio['median']:.2f} × bare)", mark, colour))
        bars.append(Bar(f"a bare twisted.web, {verb}", bare["median"], colour=OTHERS))
    return bars


def _with_goals(lines: dict[str, dict[str, Any]], *wanted: tuple[str, str, float | None]) -> list[Bar]:
    found = [(label, lines[key], goal) for label, key, goal in wanted if key in lines]
    return [
        Bar(label, line["median"], "", goal, MISSED if line["held"] is False else OURS) for label, line, goal in found
    ]


def draw_alternatives(path: str, machine: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The rows of `benchmarks.alternatives` as bars; batches have a scale of their own."""
    measured = [row for row in rows if row["rounds"]]
    groups = []
    for ending, batches in ((", each by itself", False), (", in batches of 100", True)):
        for name, does in (("put", "Jobs put in by one producer"), ("done", "Jobs done by one worker")):
            bars = [
                Bar(
                    row["name"],
                    row[name],
                    "" if row["counted"] == "all, once" else f"({row['counted']})",
                    colour=OURS if row["name"].startswith("presque") else OTHERS,
                )
                for row in measured
                if ("by 100" in row["name"]) == batches and (name == "done" or row["producer"] == row["name"])
            ]
            groups.append(Group(f"{does}, a second{ending}", bars))
    libraries = "with " + ", ".join(
        f"{name} {machine['versions'][name]}" for name in ("rq", "celery", "dramatiq", "huey")
    )
    head = "presque is a daemon beside its worker; the others are libraries in theirs. The same Redis for all."
    threads = "A worker does one job at a time, but for dramatiq's with 8 threads, which are its default."
    draw(path, "presque and what else runs jobs for Python", groups, [head, threads, libraries, *_foot(machine)])
