"""Gradient checkpoints: they run a part of the network again in the backward pass, when nothing is replayed."""

import sys
from types import FrameType
from typing import Any

from torch.utils import checkpoint

from frostline.replaying.refusal import Refusal


class Checkpoints:
    """Notices gradient checkpoints around frozen and trained work at once: they run it again without the stored values.

    A checkpoint around trained work alone, or frozen work alone, is none of our business.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[Any, set[bool]]] = []  # frames are kept, so that none takes another's place

    def note(self, *, trained: bool) -> None:
        """Take note of work that runs now.

        Raises:
            Refusal: a checkpoint is around it that is around the other kind too.
        """
        if (frame := _checkpoint()) is None:
            return
        kinds = next((kinds for known, kinds in self._seen if known is frame), None)
        if kinds is None:
            kinds = set()
            self._seen.append((frame, kinds))
        kinds.add(trained)
        if len(kinds) > 1:
            raise Refusal("a gradient checkpoint runs frozen and trained layers again, together")


def _checkpoint() -> FrameType | None:
    """Give the frame of the outermost gradient checkpoint that runs, or None."""
    frame: FrameType | None = sys._getframe()
    found = None
    while frame is not None:
        if frame.f_code.co_name == "checkpoint" and frame.f_code.co_filename == checkpoint.__file__:
            found = frame
        frame = frame.f_back
    return found
