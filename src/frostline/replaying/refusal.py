"""Why replay stays out of the way: wrong is never an outcome, slower is."""


class Refusal(Exception):  # noqa: N818 - it is an outcome, not a mistake
    """Replay cannot be exact here; its text is the reason. The run goes on without replay."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split()))
        self.reason = str(self)
