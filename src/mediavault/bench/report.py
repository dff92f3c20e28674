"""What a run tells: lines for the terminal, a page of Markdown, one JSON document. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from mediavault.bench.figures import Row, Spread

_INTRODUCTION = """\
# Benchmarks

The vault beside nginx on the same machine, in the same run, taking turns. Written by

```sh
{command}
```

which needs nginx and wrk (Debian, Ubuntu: `apt-get install nginx wrk`), nothing else. It makes the objects,
starts an origin, a vault, nginx and the load on cores of their own, checks the bytes of whatever it is about to
measure, and leaves nothing behind. `--quick` takes a minute, `--only head --only herd` what is named, `--json` gives
every round.

![The vault beside its peers]({picture})
"""

_READING = """\
## How to read it

- Work is counted **per second of server CPU**: user and system time of the server and all it started, from `/proc`. So
  the figure is what one core does, and a load generator that cannot keep up changes nothing. *By the clock* is what the
  clients saw of a server that had one core; it is what the goal is about where a contender waits instead of working (a
  cache lock that waits takes no CPU). Times and memory are what they are.
- Each round measures both, one after the other, and the next round the other way round. A ratio is that of one round's
  pair; the table has the median and the extremes. Ratios travel between machines better than figures do.
- **Fresh memory.** What is cached takes fresh pages. Where a virtual machine gives free memory back to its host, it
  has to find each page again, which costs whoever touches it many times what writing it does: the cold rows then fall
  from round to round, for both. Look at the rounds (`--json`); for steady ones keep the memory
  (`/sys/module/page_reporting/parameters/page_reporting_order`) and touch all of it once before.
- **The load's core does not sleep** while a case is measured, for both alike: a process of the kernel's idle class
  spins there and runs only when nothing else would, so it takes no time from the load. An answer wakes the client that
  waits for it; waking a core that sleeps costs the *sender* an interrupt, in a virtual machine a call of the
  hypervisor, up to several times what a 304 costs. nginx is quick enough to keep wrk awake by itself and is never
  charged; a slower server is charged for each answer. The row that says so leaves the core to sleep;
  `--no-keep-load-awake` does for all.
- **Pacing.** Where the system's congestion control is BBR, it spaces what is sent by timers, even on loopback, and they
  cost more than all else of a hot megabyte. The vault does without them for clients of its own machine, as a reverse
  proxy is one, and nginx cannot be told to. The rows *nginx unpaced too* hand it a listening socket that does not pace,
  so they compare the rest; where the system does not pace, they repeat the rows above them. In all other rows, the
  cold ones too, nginx sends as the system has it.
- **The herd's end.** The origin alone takes 1.0 s for 20 MB at 20 MB/s, so no one can be done sooner. nginx's clients
  wait for its lock, look twice a second whether the object is there, and begin then: at 20 MB it has just come when
  they look for the second time, the best that can happen to them. The rows *18 to 26 MB* take another size each round.
- Where the time of a 304, of a hot 32 KB and of a hot megabyte goes: [hot paths](benchmarks-hot-paths.md).
- 32 KB, 1 MB and 100 MB objects are 2¹⁵, 2²⁰ and 100 · 2²⁰ bytes; MB/s are 10⁶ bytes a second.

## What runs

- **The vault**: `mediavault serve` with its defaults, one process, SQLite, local disk. Hot objects were seen through
  the gateway, viewed and stored; every request is a signed URL, looked up in the catalog. Cold ones were seen in posts,
  which are cached and not stored by default.
- **nginx**: one worker; `secure_link_md5` with expiry on every request, `sendfile`, `tcp_nopush`, `open_file_cache`, no
  access log; for cold objects `proxy_cache` with `proxy_cache_lock` and kept connections to the same origin. It has no
  catalog, counts no views and stores nothing: it is the yardstick, not an alternative.
- **The origin**: threads and `sendfile`, as fast as it can; a herd's objects at 20 MB/s each.
- **constant**: a bare ASGI callable on the vault's own uvicorn that answers every request with the item's JSON.
- **The load**: wrk for small answers; for the rest raw sockets that drop bodies in the kernel.
"""


def number(value: float) -> str:
    """Three digits or more, whatever its size."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(of: Spread, *, unit: str = "") -> str:
    """As in `0.93 × (0.91–0.95)`; a single round has no spread."""
    if of.low == of.high:
        return f"{number(of.median)}{unit}"
    return f"{number(of.median)}{unit} ({number(of.low)}–{number(of.high)})"


def line(row: Row) -> str:
    """A row for the terminal."""
    reached = "reached" if row.reached else "missed"
    return (
        f"{row.title}: vault {number(row.vault.median)}, {row.peer} {number(row.other.median)} {row.unit}"
        f"{' a core' if row.is_per_core else ''}, {spread(row.ratio, unit=' ×')}; goal {row.goal.text} {reached}"
    )


def table(rows: Sequence[Row]) -> str:
    """The Markdown table against the goals."""
    head = ["work", "unit", "vault", "peer", "ratio", "the other count", "goal", ""]
    lines = [_cells(head), "|---|---|--:|--:|--:|--:|--:|---|"]
    for row in rows:
        peer = number(row.other.median) + ("" if row.peer == "nginx" else f" ({row.peer})")
        unit = row.unit.replace("/s", "/CPU s") if row.is_per_core else row.unit
        ratio = spread(row.ratio, unit=" ×")
        goal = row.goal.text if row.goal.relative else f"{row.goal.text} {row.unit}"
        mark = "reached" if row.reached else "**missed**"
        lines.append(_cells([row.title, unit, number(row.vault.median), peer, ratio, _aside(row), goal, mark]))
    return "\n".join(lines)


def _aside(row: Row) -> str:
    if row.ratio_aside is None:
        return ""
    return f"{'by the clock' if row.is_per_core else 'per core'} {spread(row.ratio_aside, unit=' ×')}"


def _cells(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def page(rows: Sequence[Row], facts: Mapping[str, str], *, command: str, picture: str) -> str:
    """The whole page."""
    machine = "\n".join(f"| {name} | {value.replace('|', ' ')} |" for name, value in facts.items())
    return "\n".join(
        [
            _INTRODUCTION.format(command=command, picture=picture),
            table(rows),
            "",
            _READING,
            "## The machine",
            "",
            f"| | |\n|---|---|\n{machine}",
            "",
        ]
    )


def document(rows: Sequence[Row], facts: Mapping[str, str]) -> dict[str, object]:
    """Everything, every round."""
    return {"machine": dict(facts), "rows": [_row(row) for row in rows]}


def _row(row: Row) -> dict[str, object]:
    ratio = asdict(row.ratio)
    aside = asdict(row.ratio_aside) if row.ratio_aside else None
    return {
        "case": row.case,
        "title": row.title,
        "unit": row.unit,
        "metric": row.metric,
        "goal": row.goal.text,
        "reached": row.reached,
        "peer": row.peer,
        "ratio": ratio,
        "ratioAside": aside,
        "rounds": {"vault": row.vault_rounds, row.peer: row.peer_rounds},
        "roundsAside": {"vault": row.vault_aside, row.peer: row.peer_aside},
    }
