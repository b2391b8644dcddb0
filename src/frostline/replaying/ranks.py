"""Ranks: the processes of one training run, which record together and decide alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist

from frostline.errors import StoreError
from frostline.replaying.refusal import Refusal

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together.

    Attributes:
        number: of this process, from 0.
        count: of all.
    """

    number: int = 0
    count: int = 1

    @classmethod
    def now(cls) -> "Ranks":
        """Ask torch.distributed, where somebody has set it up; else there is one process."""
        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def agree(self, reason: str | None) -> None:
        """Wait for all; whatever speaks against replay in one of them counts for every one.

        Args:
            reason: what speaks against it here, or None.

        Raises:
            Refusal: something does.
        """
        reasons: list[str | None] = [reason]
        if self.count > 1:
            reasons = [None] * self.count
            dist.all_gather_object(reasons, reason)
        if reason is not None:
            raise Refusal(reason)
        for number, other in enumerate(reasons):
            if other is not None:
                raise Refusal(f"process {number}: {other}")

    def together(self, act: Callable[[], T]) -> T:
        """Do something in every process of a run, and wait for all.

        Args:
            act: what.

        Raises:
            Refusal: it fails in one of them.
        """
        reason = None
        try:
            found = act()
        except Refusal as refusal:
            reason = refusal.reason
        except StoreError as error:
            reason = f"{error.asked}: {error.found}"
        self.agree(reason)
        return found
