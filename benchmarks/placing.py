"""Networks placed as frostline's own loop places them, for ours and for what it is compared with like for like."""

from arm import Job
from frostline.training import Runtime


def place_like_ours(job: Job) -> None:
    """Bring the convolutions of a job's networks into channels last, and keep freed memory."""
    runtime = Runtime(precision="fp32" if job.precision == "fp32" else "bf16", device="cpu")
    for network in job.networks:
        runtime.place(network)
