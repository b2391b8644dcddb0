"""What several sources say when a network is not there or cannot be made."""

from collections.abc import Sequence

from frostline.errors import NetworkError, nearest

OFFLINE = "name a weights file (`weights: file.safetensors`), or `weights: none` to start from random ones"


def unknown(name: str, known: Sequence[str], command: str) -> NetworkError:
    """Make the error of a name that its source does not know; `command` tells where the known ones are listed."""
    return NetworkError(
        f"network {name}", found=f"no such network; {nearest(name.partition('/')[2], known)}", do=command
    )


def not_made(name: str, error: Exception, *, pretrained: bool) -> NetworkError:
    """Make the error of a network whose source failed to build it, or to fetch its weights."""
    reason = first_line(error)
    if not pretrained:
        return NetworkError(f"network {name}", found=f"it cannot be built ({reason})", do="name another network")
    return NetworkError(f"network {name}", found=f"its pretrained weights could not be fetched ({reason})", do=OFFLINE)


def first_line(error: BaseException) -> str:
    """Say an error of other people's code in one short line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__
