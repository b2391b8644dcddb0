"""Whether anything is where a Ray cluster is said to be: Ray itself tries for minutes."""

import os
import socket
from urllib.parse import urlsplit

from frostline.errors import UserError

KNOCK_SECONDS = 5.0


def check_address(address: str) -> None:
    """Knock at the port that an address names; `local` names none, and `auto` that of $RAY_ADDRESS, if any.

    Raises:
        UserError: it is no address, or nobody is there.
    """
    named = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    if named in ("auto", "local"):
        return
    asked = f"--ray {address}" if named == address else f"--ray {address}, which $RAY_ADDRESS says is {named}"
    parts = urlsplit(named if "://" in named else f"//{named}")
    try:
        place = parts.hostname, parts.port
    except ValueError:  # a port that is no number
        place = None, None
    host, port = place
    if parts.scheme not in ("", "ray") or host is None or port is None:
        raise UserError(asked, found="no address of a cluster", do="say auto, local, HOST:6379 or ray://HOST:10001")
    try:
        socket.create_connection((host, port), timeout=KNOCK_SECONDS).close()
    except OSError as error:
        raise UserError(
            asked,
            found=f"nobody is there ({error.strerror or error})",
            do="start a cluster (`ray start --head`), or say local",
        ) from None
