"""The composition root: a recipe in, a run folder out, with checkpoints, record, proof and report."""

import time
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from frostline.errors import FrostlineError, ProofError, RunFailure
from frostline.freezing import across, apply, confirm, digests, forget_cached, merge
from frostline.optimization import stage_rates
from frostline.processes import is_main, is_one_of_several
from frostline.recipe.assembly import Assembly, always_held, assemble, beside_held, blocks
from frostline.recipe.folder import forget_life_before, found, write_recipe
from frostline.recipe.interrupted import Interrupted
from frostline.recipe.journal import Journal
from frostline.recipe.load import load_recipe
from frostline.recipe.machine import replay_settings, runtime_of
from frostline.recipe.pretraining import OURS, OURS_OF_WORDS, Pretraining, plan_pretraining
from frostline.recipe.rates import rate_schedule
from frostline.recipe.schema import Recipe
from frostline.recipe.shared_by_runs import Common
from frostline.recipe.teaching import taught
from frostline.record import (
    CHECKPOINTS,
    PROOF_FILE,
    RECORD_FILE,
    EpochRecord,
    PhaseRecord,
    Proof,
    RunRecord,
    read_record,
    write_json,
    write_predictions,
)
from frostline.report import write_report
from frostline.tasks import Task
from frostline.training import (
    BEST,
    SAVE_SECONDS,
    Best,
    Course,
    Display,
    Keeper,
    Logs,
    PhaseResult,
    PhaseSettings,
    PhaseState,
    Replays,
    Runtime,
    Silent,
    Snapshot,
    beginning,
    evaluate,
    forget_peak_rss,
    forget_snapshot,
    inference_seconds,
    put,
    read_snapshot,
    run_phase,
    shard,
    take_up_beginning,
)


def finetune(
    recipe: Recipe | str | Path,
    *,
    out: Path | str,
    resume: bool = False,
    save_seconds: float = SAVE_SECONDS,
    show: Display | None = None,
    warn: Callable[[Sequence[str]], None] | None = None,
    common: Common | None = None,
) -> RunRecord:
    """Fine-tune a network as a recipe says, prove that what it froze held, and write the run's folder.

    With `pretrain` there are two runs: one on masked words in the folder `pretraining` within the run's, and one that
    goes on from its best weights. Both are checked before either begins, and `resume` goes on with whichever is left.

    Under `accelerate launch` or `torchrun` every process calls it; each has batches of its own, of `batch_size`, and
    the main one writes and speaks.

    Args:
        recipe: what to do, or the file that says it, or its name in the library.
        out: the run's folder; it is made, and must not hold a run already, unless that is to be resumed.
        resume: go on where the run in that folder was interrupted, to the same bits on a CPU; where there is none,
            begin. With another recipe what fits is taken up, and `warn` is told what was not.
        save_seconds: at most so much work is done again after a kill, beside an epoch that was not finished.
        show: where progress goes; nowhere by default.
        warn: told, before training, what a person should know.
        common: what other runs of this process have found, where their samples are the same; this one adds to it.

    Returns:
        The record, as `record.json` in the folder has it.

    Raises:
        UserError: something in the recipe cannot be done, or nothing of what is to be resumed fits; nothing was
            written.
        NonFiniteLossError: the loss became NaN or infinite; record and last good checkpoint are kept.
        ProofError: the freeze did not hold; record and proof are kept.
        RunFailure: the network's own code or the machine failed; the record is kept. Where that happens in one of
            several processes, the launcher ends the others, and may do so before the main one has written it.
    """
    asked, folder = recipe if isinstance(recipe, Recipe) else load_recipe(recipe), Path(out)
    run = partial(_finetune, resume=resume, save_seconds=save_seconds, show=show, warn=warn, common=common)
    if asked.pretrain is None:
        return run(asked, folder)
    first = plan_pretraining(asked, folder, resume=resume)
    tell = show if show is not None and is_main() else Silent()
    if warn is not None and first.remarks and is_main():
        warn(first.remarks)
    if not first.is_done:
        tell.say(f"pretraining on masked words, in {first.folder}")
        run(first.recipe, first.folder, ours=OURS_OF_WORDS)
        tell.say(f"fine-tuning, from what was learned in {first.folder}")
    return run(first.then, folder, ours=OURS, first=first)


def _finetune(
    asked: Recipe,
    folder: Path,
    *,
    resume: bool,
    save_seconds: float,
    show: Display | None,
    warn: Callable[[Sequence[str]], None] | None,
    common: Common | None,
    ours: Collection[str] = (),
    first: Pretraining | None = None,
) -> RunRecord:
    """Do one run; `ours` names what was put into its folder for it, and `first` the run that it goes on from."""
    alone = not is_one_of_several()
    if alone and (finished := found(folder, asked, resume=resume, ours=ours)) is not None:
        return _as_it_is(finished, folder, warn)
    started, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    forget_peak_rss()
    runtime = runtime_of(asked)
    if not alone and (finished := runtime.on_main(lambda: found(folder, asked, resume=resume, ours=ours))) is not None:
        return _as_it_is(finished, folder, warn if runtime.is_main else None)
    snapshot = runtime.on_main(lambda: read_snapshot(folder) if resume else None)
    assembly = runtime.together(lambda: assemble(asked, processes=runtime.count, common=common))
    journal = Journal(
        assembly=assembly, out=folder, started=started, begun=begun, processes=runtime.count, shards=runtime.shards
    )
    if first is not None:
        journal.pretraining = first.origin()
    journal.seconds["preparation"] = time.perf_counter() - begun
    interrupted = runtime.together(lambda: _interrupted(journal, snapshot))
    if first is not None and interrupted is None:
        journal.remarks.extend(first.remarks)
    runtime.on_main(lambda: write_recipe(folder, assembly.recipe, spec=assembly.task.spec))
    if interrupted is None or not interrupted.same:
        runtime.on_main(lambda: forget_life_before(folder))
    if warn is not None and runtime.is_main:
        warn([*assembly.warnings, *(interrupted.remarks if interrupted is not None else ())])
    best = Best(metric=asked.metric)
    show = show if show is not None and runtime.is_main else Silent()
    runtime.seed_apart(asked.seed)
    try:
        settings = replay_settings(assembly.recipe)
        with taught(assembly.task, runtime=runtime, stores=settings, show=show, notes=journal.teacher) as task:
            _train(
                journal,
                task,
                runtime=runtime,
                best=best,
                show=show,
                interrupted=interrupted,
                save_seconds=save_seconds,
                common=common,
            )
    except (FrostlineError, KeyboardInterrupt) as stop:
        if isinstance(stop, ProofError) and stop.proof is not None:
            journal.proof = merge([*journal.proofs, stop.proof])
        if runtime.is_main:
            _close(journal, best, failure=str(stop) or "stopped by hand")
        if isinstance(stop, FrostlineError) and stop.in_every_process:
            runtime.from_main(None)  # the first that leaves takes the others with it, and the record is not written yet
        raise
    except Exception as error:  # whatever a stranger's forward raises, or a full disk or memory
        crash = _crashed(error)
        if runtime.is_main:
            _close(journal, best, failure=str(crash))
        raise crash from error
    finally:
        show.close()
    failure = _unproven(journal.proof, assembly.recipe)
    record = runtime.on_main(lambda: _close(journal, best, failure=str(failure) if failure is not None else None))
    runtime.agree(failure)
    runtime.on_main(lambda: forget_snapshot(folder))
    return record


def _as_it_is(record: RunRecord, folder: Path, warn: Callable[[Sequence[str]], None] | None) -> RunRecord:
    """Give the record of a run that is over, and say so: it looks like one that was trained just now."""
    if warn is not None:
        warn([f"{folder} is finished already: nothing was trained, and nobody looked whether its samples have changed"])
    return record


def _interrupted(journal: Journal, snapshot: Snapshot | None) -> Interrupted | None:
    if snapshot is None:
        return None
    return Interrupted.of(snapshot, journal.assembly, processes=journal.processes, shards=journal.shards)


def _train(
    journal: Journal,
    task: Task,
    *,
    runtime: Runtime,
    best: Best,
    show: Display,
    interrupted: Interrupted | None,
    save_seconds: float,
    common: Common | None,
) -> None:
    assembly, out = journal.assembly, journal.out
    recipe, model = assembly.recipe, runtime.place(assembly.model)
    if interrupted is not None:
        interrupted.take_up(model, best=best)
        journal.go_on(interrupted)
    if runtime.shards:
        runtime.together(lambda: shard(model, blocks(assembly), processes=runtime.count))
    keeper = Keeper(
        model,
        out / CHECKPOINTS,
        least_seconds=save_seconds,
        writes=runtime.is_main,
        gathers=runtime.shards,
        has_best=interrupted is not None and interrupted.has_best,
    )
    if interrupted is None or not interrupted.same:
        keeper.clear()  # the best of another run would be taken for one of this
        journal.digests["start"] = digests(model, always_held(assembly))
        journal.digests["beside"] = digests(model, beside_held(assembly))
    with journal.timed("looking for what can be replayed"):
        replays = Replays(
            replay_settings(recipe),
            model=model,
            plans=assembly.plans,
            task=task,
            data=assembly.data,
            runtime=runtime,
            seed=recipe.seed,
            half=recipe.amp == "O2",
            compiles=recipe.compile,
            known=None if common is None else common.surveys(recipe),
        )
    metrics = task.metric_names if assembly.data.val is not None else ()
    logging = Logs(out, metrics=metrics, epochs=journal.epochs) if runtime.is_main else nullcontext()
    with logging as logs, closing(keeper):

        def note(epoch: EpochRecord) -> None:
            journal.epochs.append(epoch)
            if logs is not None:
                logs.epoch(epoch)

        def restore() -> None:
            put(model.state_dict(), runtime.on_main(lambda: keeper.weights(BEST)))
            forget_cached(*model.modules())

        def has_best() -> bool:
            """Whether there is a best epoch; one whose file was lost is told of, and forgotten."""
            if best.value is not None and not keeper.has_best:
                remark(
                    f"the file of the best epoch, {best.epoch}, was lost when the run was interrupted: the last counts"
                )
                best.put_back(Best(metric=best.metric))
                keeper.forget_best()
            return best.value is not None

        def remark(line: str) -> None:
            journal.remarks.append(line)
            show.say(line)

        course = Course(
            task=task,
            data=assembly.data,
            runtime=runtime,
            best=best,
            keeper=keeper,
            display=show,
            rebuild=lambda: runtime.place(assembly.rebuild()),
            replays=replays,
            note=note,
            remark=remark,
        )
        earlier: list[torch.optim.Optimizer] = []
        for index in range(1 if interrupted is None else interrupted.phase, len(recipe.phases) + 1):
            phase, plan = recipe.phases[index - 1], assembly.plans[index - 1]
            here = interrupted if interrupted is not None and interrupted.phase == index else None
            resumed = None if here is None else here.phase_state
            if phase.start_from == "best" and here is None and not has_best():
                remark(f"phase {index} begins with the last weights: no epoch of this recipe is the best yet")
            elif phase.start_from == "best" and here is None:
                restore()
                if best.phase != index - 1:
                    remark(f"phase {index} begins with epoch {best.epoch}, the best yet, of phase {best.phase}")
                earlier.clear()  # what it knows is of the last weights
                # Before the best epoch of this phase takes the place of the one that it starts from.
                keeper.keep_to_resume(journal.state(best, index, beginning(runtime)))

            def save(state: Callable[[], PhaseState], index: int = index) -> None:
                if runtime.from_main(keeper.resume_is_due):
                    keeper.keep_to_resume(journal.state(best, index, state().to_state(), begun=True))

            if here is not None and resumed is None:
                take_up_beginning(here.beginning, runtime)
            with journal.timed("training"):
                result = run_phase(
                    model,
                    plan,
                    course,
                    settings=_settings(assembly, index),
                    first_epoch=len(journal.epochs) + 1 - (0 if resumed is None else len(resumed.epochs)),
                    save=save,
                    earlier=earlier,
                    resumed=resumed,
                )
            earlier = [result.optimizer]
            journal.proofs.append(result.proof)
            journal.phases.append(_phase_record(assembly, index, result))
            del result  # with it the optimizer would live as long as the next phase
            journal.proof = merge(journal.proofs)
        if has_best():
            restore()
    confirmed = confirm(merge(journal.proofs), model, before=journal.digests["start"], since=journal.since)
    journal.proof = across(runtime.gathered(confirmed))
    journal.digests["final"] = digests(model, model.state_dict())
    # Computed once more where a run stands alone: a look at the whole network. Of many that share what they freeze,
    # each would compute the same.
    holding = nullcontext() if common is None else apply(model, assembly.plans[-1])
    with journal.timed("evaluation"), holding as handle:
        for name, samples in assembly.data.by_name().items():
            if name != "train":
                loader = None if handle is None else replays.judging(handle, samples)
                judged, said = evaluate(model, samples, task=task, runtime=runtime, split=name, loader=loader)
                journal.evaluations.append(judged)
                if said is not None and runtime.is_main:
                    write_predictions(out, said)
        if runtime.count == 1:
            journal.inference_seconds = inference_seconds(model, assembly.data.train, task=task)


def _settings(assembly: Assembly, index: int) -> PhaseSettings:
    """Say what a phase, from 1 on, is asked to do."""
    recipe, plan = assembly.recipe, assembly.plans[index - 1]
    phase = recipe.phases[index - 1]
    return PhaseSettings(
        title=f"phase {index} of {len(recipe.phases)}, freeze {plan.selector}",
        index=index,
        epochs=phase.epochs,
        lr=phase.lr,
        factors=assembly.factors[index - 1],
        optimizer=recipe.optimizer.name,
        momentum=recipe.optimizer.momentum or 0.0,
        weight_decay=recipe.optimizer.weight_decay,
        schedule=rate_schedule(recipe, phase),
        clip_norm=recipe.clip_norm,
        accumulate=recipe.accumulate,
        recomputed=blocks(assembly, plan.trained_names) if recipe.gradient_checkpointing else (),
        compiles=recipe.compile,
        half=recipe.amp == "O2",
        average_decay=recipe.ema,
        patience=phase.patience or recipe.patience,
        seed=recipe.seed,
    )


def _phase_record(assembly: Assembly, index: int, result: PhaseResult) -> PhaseRecord:
    plan, phase = assembly.plans[index - 1], assembly.recipe.phases[index - 1]
    return PhaseRecord(
        index=index,
        freeze=plan.selector.words(),
        lr=phase.lr,
        epochs_asked=phase.epochs,
        epochs_done=len(result.epochs),
        start_from=phase.start_from,
        stages=result.proof.stages,
        rates=stage_rates(plan, lr=phase.lr, factors=assembly.factors[index - 1]),
        stopped_early=result.stopped_early,
        replay=result.replay,
    )


def _unproven(proof: Proof | None, recipe: Recipe) -> RunFailure | None:
    if proof is None or proof.ok:
        return None
    failing = next(claim for claim in proof.claims if claim.status == "fails")
    words = "; ".join(str(phase.freeze) for phase in recipe.phases)
    return ProofError(
        f"freeze: {words}",
        found=f"{failing.name}: it fails ({failing.evidence['summary']})",
        do=f"see {PROOF_FILE}; do not trust this run",
    )


def _crashed(error: Exception) -> RunFailure:
    """Tell an error of other people's code in one line: what it was, and the line of the network's file or of ours."""
    places = traceback.extract_tb(error.__traceback__)
    place = next((place for place in reversed(places) if "site-packages" not in place.filename), places[-1])
    said = str(error).strip()
    # What went wrong in a loader's process comes as its whole traceback, whose last line is the error.
    first = said.rpartition("\n")[2] if "DataLoader worker" in said else said.partition("\n")[0]
    return RunFailure(
        "training",
        found=f"{type(error).__name__}: {first} ({place.filename}, line {place.lineno})",
        do="mend what is named there; the record says how far the run came",
    )


def _close(journal: Journal, best: Best, *, failure: str | None) -> RunRecord:
    """Write proof, record and report, whatever happened."""
    if failure is not None and journal.proof is not None and journal.proof.ok and "final" not in journal.digests:
        journal.proof = None  # of the phases before alone
    if journal.proof is not None:
        write_json(journal.out / PROOF_FILE, journal.proof.to_json())
    else:
        (journal.out / PROOF_FILE).unlink(missing_ok=True)  # of a life before
    write_json(journal.out / RECORD_FILE, journal.record(best, failure=failure).to_json())
    write_report(journal.out)
    # As the file has it: lists, where there were tuples.
    return read_record(journal.out)
