"""`frostline verify`: prove a freeze without training for long, or prove a finished run from what it left behind."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from frostline.errors import RunError
from frostline.freezing import GradientWatch, against_record, apply, confirm, digests, merge, verify
from frostline.optimization import make_optimizer, param_groups
from frostline.recipe.assembly import Assembly, always_held, assemble
from frostline.recipe.load import load_recipe
from frostline.recipe.rates import rate_schedule
from frostline.recipe.schema import Recipe
from frostline.record import RECIPE_FILE, RECORD_FILE, Proof, RunRecord, read_record
from frostline.training import checkpoint_bytes, checkpoint_of, load_checkpoint

TRIAL_STEPS = 3


def verify_recipe(recipe: Recipe) -> Proof:
    """Prove the freeze of a recipe: a few real training steps for each phase, in memory; nothing is written.

    Raises:
        UserError: as `finetune`.
    """
    assembly = assemble(recipe)
    before = digests(assembly.model, always_held(assembly))
    proofs = [_trial(assembly, index) for index in range(len(assembly.plans))]
    return confirm(merge(proofs), assembly.model, before=before)


def verify_run(run: Path) -> Proof:
    """Prove a finished run from what it left behind.

    Its checkpoint is held against the digests in its record: every tensor must be as the run ended, and what every
    phase held must be as before the first. Modes, gradients and the like are tried on the network with the run's
    weights, under the plan of each phase; the optimizer of the training is gone. What failed in the run fails here.

    Args:
        run: the run's folder.

    Raises:
        RunError: the folder has no run, one that failed before it was proven, no checkpoint, or a recipe with another
            freeze than its record.
        UserError: the data, network or weights that the run's recipe names are gone.
    """
    record = read_record(run)
    checkpoint = checkpoint_of(run)
    recipe = load_recipe(str(run / RECIPE_FILE))
    # Not all of it: data and weights may have moved to another folder since.
    if any(recipe.model_dump(mode="json")[key] != record.recipe.get(key) for key in ("phases", "norm")):
        raise RunError(
            f"run {run}",
            found=f"{RECIPE_FILE} has another freeze than the record of the run",
            do=f"put back the phases that {RECORD_FILE} names",
        )
    if record.status != "finished" and record.proof is None:
        raise RunError(
            f"run {run}",
            found=f"it failed ({record.failure}), so that there is no end to prove",
            do="go on with it (`frostline train … --resume`), or verify its recipe",
        )
    gone = recipe.distill is not None and not Path(recipe.distill.teacher).is_dir()
    assembly = assemble(recipe.model_copy(update={"distill": None}) if gone else recipe)
    start, final = (record.digests.get(when, {}) for when in ("start", "final"))
    anew = digests(assembly.model, start)
    load_checkpoint(assembly.model, checkpoint)
    saved = checkpoint.read_bytes()
    proof = merge([_trial(assembly, index, saved=saved, steps=0) for index in range(len(assembly.plans))])
    proof = against_record(proof, digests(assembly.model, [*start, *final]), start=start, final=final)
    proof = _as_failed(proof, record)
    warnings = list(proof.warnings)
    if gone:
        warnings.append("the teacher is gone: gradients were tried with the loss of the labels alone")
    if (taught := record.teacher.get("proof")) is not None and not taught["ok"]:
        warnings.append(f"the teacher was not held: {taught['line']}")
    if changed := sum(anew[name] != start[name] for name in start):
        # No failure of the run: the weights file may have changed, or statistics were measured with other rounding.
        warnings.append(
            f"{changed} of {len(start)} held tensors of the network built anew are not what this run started from"
        )
    if record.status != "finished":
        warnings.append(f"the run failed: {record.failure}")
    return replace(proof, warnings=tuple(warnings))


def _as_failed(proof: Proof, record: RunRecord) -> Proof:
    """Let claims fail that failed when the run itself was proven."""
    then = {
        claim.get("name"): (claim.get("evidence") or {}).get("summary", "it failed")
        for claim in (record.proof or {}).get("claims", ())
        if claim.get("status") == "fails"
    }
    claims = tuple(
        replace(
            claim,
            status="fails",
            evidence={**claim.evidence, "summary": f"in the run: {then[claim.name]}; now: {claim.evidence['summary']}"},
        )
        if claim.name in then
        else claim
        for claim in proof.claims
    )
    return replace(proof, claims=claims)


def _trial(assembly: Assembly, index: int, *, saved: bytes | None = None, steps: int = TRIAL_STEPS) -> Proof:
    """Put one phase's plan into force, take a few real steps, and prove."""
    recipe, task, model = assembly.recipe, assembly.task, assembly.model
    phase, plan = recipe.phases[index], assembly.plans[index]
    batches = list(islice(task.loader(assembly.data.train, seed=recipe.seed), max(steps, 1)))
    with apply(model, plan) as handle:
        groups = param_groups(
            model,
            plan,
            lr=phase.lr,
            weight_decay=recipe.optimizer.weight_decay,
            factors=assembly.factors[index],
        )
        optimizer = make_optimizer(recipe.optimizer.name, groups, momentum=recipe.optimizer.momentum or 0.0)
        # As many steps as the phase would have at least, so that a warm-up has room.
        scheduler = rate_schedule(recipe, phase).over(
            optimizer, epochs=phase.epochs, epoch_steps=len(task.loader(assembly.data.train, seed=recipe.seed))
        )
        watch = GradientWatch(model, plan)
        model.train()
        for batch in batches[:steps]:
            optimizer.zero_grad()
            torch.autograd.backward(task.batch_loss(model, batch))
            optimizer.step()
            watch.observe()
            scheduler.step()
        optimizer.zero_grad()
        return verify(
            handle,
            optimizer=optimizer if steps else None,
            scheduler=scheduler,
            batches=batches,
            loss=task.batch_loss,
            rebuild=assembly.rebuild,
            saved=saved if saved is not None else checkpoint_bytes(model),
            watch=watch if watch.steps else None,
        )
