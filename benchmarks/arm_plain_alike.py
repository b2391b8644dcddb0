"""The plain loop in the conditions of ours: convolutions channels last, freed memory kept."""

import arm_plain
from arm import Job, main
from placing import place_like_ours


def train(job: Job) -> None:
    """Place the networks, then do as the plain loop does."""
    place_like_ours(job)
    arm_plain.train(job)


if __name__ == "__main__":
    main(train)
