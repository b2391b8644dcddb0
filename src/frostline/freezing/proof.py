"""The proof: eight claims about a plan on a network, put together for any loop and merged over phases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from frostline.errors import first_of
from frostline.freezing import claims
from frostline.freezing.apply import PlanHandle
from frostline.freezing.digests import digests
from frostline.freezing.gradients import GradientWatch, watch_gradients
from frostline.freezing.plan import stage_rows
from frostline.freezing.prefix import prefix_claim
from frostline.freezing.reloaded import reloaded_claim
from frostline.record import Claim, Proof, StageRow, Status


def verify(
    handle: PlanHandle,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
    batches: Sequence[Any] = (),
    loss: claims.Loss | None = None,
    rebuild: Callable[[], nn.Module] | None = None,
    saved: bytes | None = None,
    watch: GradientWatch | None = None,
) -> Proof:
    """Prove that a plan held: before training, after it, or both, in anybody's loop.

    The network, its gradients and the random state are left as they were. A claim for which something is not given
    does not apply, and says so.

    Args:
        handle: what `freeze` gave.
        optimizer: the optimizer of the loop.
        scheduler: its rate scheduler.
        batches: a few real batches, as `loss` takes them; several show a gradient that is zero only at first.
        loss: runs the network on a batch and gives a scalar, as in
            `lambda network, batch: F.cross_entropy(network(batch[0]), batch[1])`.
        rebuild: builds the network anew, for the claim that it survives saving.
        saved: a safetensors file's bytes that the rebuilt network loads, in place of the network's own state.
        watch: gradients already watched in real steps, in place of a forward and backward on `batches`.

    Returns:
        The proof: eight claims with evidence, and the table by stage as it was found.
    """
    model, plan = handle.model, handle.plan
    can_run = loss if batches else None
    first = batches[0] if batches else None
    watch = watch or watch_gradients(model, plan, loss=can_run, batches=batches)
    return Proof(
        claims=(
            claims.requires_grad_claim(model, plan),
            claims.optimizer_claim(model, plan, optimizer=optimizer, scheduler=scheduler),
            claims.modes_claim(model, plan),
            prefix_claim(model, plan, loss=can_run, batch=first),
            watch.claim(),
            claims.digests_claim(model, plan, before=handle.before),
            reloaded_claim(model, loss=can_run, batch=first, rebuild=rebuild, saved=saved),
            claims.processes_claim(model, plan),
        ),
        stages=found_rows(handle),
        warnings=(*watch.warnings(), *_moved_beside(handle)),
    )


def _moved_beside(handle: PlanHandle) -> tuple[str, ...]:
    now = digests(handle.model, handle.beside)
    moved = [name for name in now if now[name] != handle.beside[name]]
    if not moved:
        return ()
    shown = first_of(moved, most=claims.SHOWN)
    return (
        f"{len(moved)} buffers on modules that are held in part moved, and what is held may depend on them: {shown}",
    )


def found_rows(handle: PlanHandle) -> tuple[StageRow, ...]:
    """Count by stage what the network is found to hold and train, whatever the plan says."""
    model, plan = handle.model, handle.plan
    held = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    norms = [module.name for module in plan.modules if module.role == "norm"]
    return stage_rows(plan, held=held, norms_in_eval=claims.in_eval_after_train(model, norms))


def merge(proofs: Sequence[Proof]) -> Proof:
    """Put the proofs of the phases of one run together: a claim fails where it fails in any phase.

    Args:
        proofs: one for each phase, in order; at least one.
    """
    if len(proofs) == 1:
        return proofs[0]
    return Proof(
        claims=tuple(_merge([proof.claims[number] for proof in proofs]) for number in range(len(proofs[0].claims))),
        stages=proofs[-1].stages,
        warnings=tuple(
            f"phase {number}: {warning}" for number, proof in enumerate(proofs, 1) for warning in proof.warnings
        ),
        phases=len(proofs),
        held_most=max(sum(row.held for row in proof.stages) for proof in proofs),
    )


def _merge(same: Sequence[Claim]) -> Claim:
    statuses = {claim.status for claim in same}
    order: tuple[Status, ...] = ("fails", "holds", "not applicable")
    summary = "; ".join(f"phase {number}: {claim.evidence['summary']}" for number, claim in enumerate(same, 1))
    return Claim(
        name=same[0].name,
        status=next(status for status in order if status in statuses),
        evidence={"summary": summary, "phases": [{"status": claim.status, **claim.evidence} for claim in same]},
    )


def across(proofs: Sequence[Proof]) -> Proof:
    """Put the proofs of the processes of one run together: a claim fails where it fails in any of them.

    Args:
        proofs: one for each process, in order; at least one.
    """
    return replace(
        proofs[0],
        claims=tuple(map(_across, zip(*(proof.claims for proof in proofs), strict=True))),
        warnings=tuple(dict.fromkeys(warning for proof in proofs for warning in proof.warnings)),
    )


def _across(same: Sequence[Claim]) -> Claim:
    number, worst = next(((number, one) for number, one in enumerate(same) if one.status == "fails"), (0, same[0]))
    if all(one.status == worst.status for one in same):
        return same[0]
    return replace(worst, evidence={**worst.evidence, "summary": f"process {number}: {worst.evidence['summary']}"})


def confirm(proof: Proof, model: nn.Module, *, before: Mapping[str, str], since: str = "the run") -> Proof:
    """Check the network that a run ends with: what every phase held has the bits it had before the first.

    Args:
        proof: of the run's phases.
        model: the final network, as it was loaded from its checkpoint.
        before: digests of what every phase holds, taken before the run.
        since: when they were taken: before what.

    Returns:
        The proof, whose claim about digests says so too, or fails.
    """
    if not before:
        return proof
    now = digests(model, before)
    moved = [name for name in before if now[name] != before[name]]
    old = next(claim for claim in proof.claims if claim.name == claims.DIGESTS)
    if moved:
        wrong = [f"{name} is not what it was before {since}" for name in moved]
        return _with_digests(proof, claims.claim(claims.DIGESTS, wrong, "", old.evidence))
    final = f"in the final network {len(before)} tensors that every phase held are as before {since}"
    return _with_digests(
        proof, replace(old, evidence={**old.evidence, "summary": f"{old.evidence['summary']}; {final}"})
    )


def against_record(
    proof: Proof, now: Mapping[str, str], *, start: Mapping[str, str], final: Mapping[str, str]
) -> Proof:
    """Hold a finished network against the digests that its run recorded.

    Args:
        proof: of the network at rest, whose claim about digests is made anew.
        now: digests of the network as its checkpoint has it.
        start: digests, before the run, of what every phase held.
        final: digests of the network as the run ended; none where it failed.
    """
    if not start and not final:
        return _with_digests(
            proof, claims.not_applicable(claims.DIGESTS, "the run's record keeps no digests to compare with")
        )
    wrong = [f"{name} is not what it was before the run" for name in start if now.get(name) != start[name]]
    wrong += [
        f"{name} is not what the run ended with" for name in final if now.get(name) != final[name] and name not in start
    ]
    ended = f"{len(final)} tensors are as the run ended, " if final else "the run did not end; "
    summary = f"{ended}{len(start)} that every phase held as before the run"
    return _with_digests(proof, claims.claim(claims.DIGESTS, wrong, summary, {"tensors": len({*start, *final})}))


def _with_digests(proof: Proof, new: Claim) -> Proof:
    return replace(proof, claims=tuple(new if old.name == claims.DIGESTS else old for old in proof.claims))
