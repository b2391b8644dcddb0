"""`frostline store`: what frozen prefixes have computed and left on the disk; list it, remove it."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from frostline.replaying.store import Store
    from frostline.replaying.store.entries import Entry

app = typer.Typer(
    help="List and remove what frozen prefixes have computed.", no_args_is_help=True, rich_markup_mode=None
)

DIR = typer.Option("--dir", metavar="DIR", help="The store's folder; $FROSTLINE_STORE or the user's cache without it.")
JSON = typer.Option("--json", help="Print JSON.")
KEYS = typer.Argument(metavar="KEY", help="What to remove: keys, or how they begin.")
ALL = typer.Option("--all", help="Remove all that is not in use.")
OLDER = typer.Option("--older-than", metavar="DAYS", min=0, help="Remove what was not used for so many days.")
TO = typer.Option("--to", metavar="SIZE", help="Remove what was not used for longest, down to a size such as 20GB.")

DAY_SECONDS = 86_400
UNUSED_DAYS = 30
INCOMPLETE_DAYS = 1
SHOWN = 12
WORDS = 32


@app.command("list")
def list_entries(folder: Annotated[Path | None, DIR] = None, json: Annotated[bool, JSON] = False) -> None:
    """List what the store holds, the last used last.

    Example: frostline store list
    """
    from frostline.cli import show
    from frostline.replaying.store import Store
    from frostline.replaying.store.sizes import show_size

    store = Store(folder)
    entries = store.entries()
    total_bytes = sum(entry.size_bytes for entry in entries)
    if json:
        rows = [_as_json(entry) for entry in entries]
        show.as_json({"folder": str(store.folder), "budget_bytes": store.budget_bytes, "entries": rows})
        return
    if entries:
        header = ("key", "holds", "network", "freeze", "samples", "of", "size", "last used")
        show.table(header, (_row(entry) for entry in entries), left=4)
    count = "one entry" if len(entries) == 1 else f"{len(entries)} entries"
    print(f"{store.folder}: {count}, {show_size(total_bytes)}; the budget is {show_size(store.budget_bytes)}")


@app.command("prune")
def prune(
    keys: Annotated[list[str] | None, KEYS] = None,
    folder: Annotated[Path | None, DIR] = None,
    everything: Annotated[bool, ALL] = False,
    older_than: Annotated[float | None, OLDER] = None,
    to: Annotated[str | None, TO] = None,
) -> None:
    """Remove what the store holds, and nothing that is in use.

    Without a word of what: what is empty, was left incomplete a day ago or before, or was not used for 30 days.

    Example: frostline store prune --to 5GB
    """
    from frostline.errors import StoreError
    from frostline.replaying.store import Store
    from frostline.replaying.store.sizes import parse_size, show_size

    if sum([bool(keys), everything, older_than is not None, to is not None]) > 1:
        raise StoreError(
            "store prune", found="more than one word of what to remove", do="give KEY, --all, --older-than or --to"
        )
    to_bytes = None if to is None else parse_size(to)
    store = Store(folder)
    before = store.entries()
    if to_bytes is not None:
        removed = store.evict(to_bytes=to_bytes)
        left_bytes = sum(entry.size_bytes for entry in before) - sum(entry.size_bytes for entry in removed)
        busy = [entry for entry in before if entry.in_use] if left_bytes > to_bytes else []
    else:
        wanted = _named(store, before, keys) if keys else _chosen(before, everything=everything, older_than=older_than)
        removed = store.remove(entry.key for entry in wanted)
        gone = {entry.key for entry in removed}
        busy = [entry for entry in wanted if entry.key not in gone]
    for entry in removed:
        print(f"removed {_title(entry)}, {show_size(entry.size_bytes)}")
    for entry in busy:
        print(f"in use, and left: {_title(entry)}, {show_size(entry.size_bytes)}")
    freed_bytes = sum(entry.size_bytes for entry in removed)
    print(f"{store.folder}: removed {len(removed)} of {len(before)}, {show_size(freed_bytes)}")


def _chosen(entries: Iterable["Entry"], *, everything: bool, older_than: float | None) -> list["Entry"]:
    now = time.time()

    def stale(entry: "Entry") -> bool:
        unused_days = (now - entry.used) / DAY_SECONDS
        if everything or older_than is not None:
            return everything or unused_days >= (older_than or 0)
        empty = entry.meta is not None and entry.recorded_rows == 0
        return empty or unused_days >= (UNUSED_DAYS if entry.complete else INCOMPLETE_DAYS)

    # What is in use is named only where it was asked for; nobody calls it stale.
    return [entry for entry in entries if stale(entry) and (everything or not entry.in_use)]


def _named(store: "Store", entries: Iterable["Entry"], keys: Iterable[str]) -> list["Entry"]:
    from frostline.errors import StoreError, nearest

    by_key = {entry.key: entry for entry in entries}
    chosen = {}
    for word in keys:
        found = [key for key in by_key if key.startswith(word)]
        if len(found) != 1:
            said = f"{len(found)} keys begin so" if found else nearest(word, (key[:SHOWN] for key in by_key))
            raise StoreError(
                f"store {store.folder}: key {word}",
                found=said if found else f"no such key; {said}",
                do="`frostline store list` lists them",
            )
        chosen[found[0]] = by_key[found[0]]
    return list(chosen.values())


def _words(entry: "Entry", name: str) -> str:
    about = entry.meta.about if entry.meta is not None else {}
    found = about.get(name, "")
    words = " ".join((", ".join(map(str, found)) if isinstance(found, list) else str(found)).split())
    return words if len(words) <= WORDS else f"{words[: WORDS - 2]} …"


def _title(entry: "Entry") -> str:
    words = " ".join(filter(None, (_words(entry, "network"), _holds(entry))))
    return f"{entry.key[:SHOWN]} ({words})" if words else entry.key[:SHOWN]


def _holds(entry: "Entry") -> str:
    if entry.meta is None:
        return "damaged"
    return _words(entry, "holds") or ("labels" if entry.meta.kind == "items" else "")


def _row(entry: "Entry") -> tuple[object, ...]:
    from frostline.replaying.store.sizes import show_size

    used = "in use" if entry.in_use else time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    rows = entry.meta.rows if entry.meta is not None else 0
    words = (_holds(entry), _words(entry, "network"), _words(entry, "freeze"))
    return entry.key[:SHOWN], *words, entry.recorded_rows, rows, show_size(entry.size_bytes), used


def _as_json(entry: "Entry") -> dict[str, object]:
    meta = entry.meta
    return {
        "key": entry.key,
        "kind": meta.kind if meta is not None else None,
        "about": dict(meta.about) if meta is not None else {},
        "rows": meta.rows if meta is not None else 0,
        "stored_rows": meta.stored_rows if meta is not None else 0,
        "recorded_rows": entry.recorded_rows,
        "size_bytes": entry.size_bytes,
        "used": entry.used,
        "in_use": entry.in_use,
    }
