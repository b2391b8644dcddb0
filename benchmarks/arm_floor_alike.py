"""Floor in the conditions of ours: convolutions channels last, freed memory kept."""

import arm_floor
from arm import Job, main
from placing import place_like_ours


def train(job: Job) -> dict[str, float]:
    """Place the networks, then do as the floor does."""
    place_like_ours(job)
    return arm_floor.train(job)


if __name__ == "__main__":
    main(train)
