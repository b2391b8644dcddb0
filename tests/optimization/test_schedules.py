"""Rate schedules: the values of torch's schedulers, and of ULMFiT's formula."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, LinearLR, OneCycleLR, SequentialLR

from frostline.errors import RatesError
from frostline.optimization import make_schedule

RATES = (0.3, 0.003)


def optimizer_of(*, momentum=0.0):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in RATES]
    return torch.optim.SGD(groups, lr=RATES[0], momentum=momentum)


def values(make, *, run, of=("lr",), momentum=0.0):
    """Give what each group has at each step."""
    optimizer = optimizer_of(momentum=momentum)
    schedule = make(optimizer)
    seen = []
    for _ in range(run):
        seen.append([group[key] for group in optimizer.param_groups for key in of])
        optimizer.step()
        schedule.step()
    return torch.tensor(seen, dtype=torch.float64)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_cosine_is_torch_s(steps):
    same(
        values(lambda optimizer: make_schedule("cosine", optimizer, steps=steps), run=steps),
        values(lambda optimizer: CosineAnnealingLR(optimizer, T_max=steps), run=steps),
    )


@pytest.mark.parametrize(("first", "growth"), [(1, 1), (7, 1), (3, 2), (20, 2)])
def test_cosine_restarts_are_torch_s(first, growth):
    same(
        values(lambda o: make_schedule("cosine_restarts", o, steps=150, first_steps=first, growth=growth), run=150),
        values(lambda o: CosineAnnealingWarmRestarts(o, T_0=first, T_mult=growth), run=150),
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("steps", "rise"), [(10, 0.3), (100, 0.25)])
def test_one_cycle_is_torch_s_with_its_momentum(steps, rise, momentum):
    def theirs(optimizer):
        return OneCycleLR(
            optimizer, max_lr=list(RATES), total_steps=steps, pct_start=rise, cycle_momentum=bool(momentum)
        )

    same(
        values(
            lambda o: make_schedule("one_cycle", o, steps=steps, rise=rise),
            run=steps,
            of=("lr", "momentum"),
            momentum=momentum,
        ),
        values(theirs, run=steps, of=("lr", "momentum"), momentum=momentum),
    )


@pytest.mark.parametrize(("steps", "rise"), [(10, 0.1), (4, 0.25), (2, 0.5), (1, 0.3), (5, 0.01)])
def test_one_cycle_of_few_steps(steps, rise):
    found = values(lambda o: make_schedule("one_cycle", o, steps=steps, rise=rise), run=steps)
    assert found.isfinite().all()
    assert found.max() <= RATES[0] + 1e-9


@pytest.mark.parametrize("name", ["one_cycle", "slanted_triangular"])
def test_what_rises_has_the_whole_rate_in_a_phase_of_one_step(name):
    assert values(lambda o: make_schedule(name, o, steps=1), run=1).max() == RATES[0]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_one_cycle_moves_the_first_beta(name):
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](
        [torch.nn.Parameter(torch.ones(1))], lr=1.0
    )
    schedule = make_schedule("one_cycle", optimizer, steps=10)
    before = optimizer.param_groups[0]["betas"][0]
    for _ in range(3):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["betas"][0] < before


def ulmfit(step, *, steps, cut_frac, ratio):
    """Equation 3 of Howard and Ruder (2018), as it is printed."""
    cut = int(steps * cut_frac)
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
    return (1 + p * (ratio - 1)) / ratio


@pytest.mark.parametrize(("steps", "rise", "ratio"), [(10, 0.1, 32), (100, 0.1, 32), (200, 0.25, 10)])
def test_slanted_triangular_is_the_formula_of_ulmfit(steps, rise, ratio):
    found = values(lambda o: make_schedule("slanted_triangular", o, steps=steps, rise=rise, ratio=ratio), run=steps)
    shares = [ulmfit(step, steps=steps, cut_frac=rise, ratio=ratio) for step in range(steps)]
    same(found, torch.tensor([[rate * share for rate in RATES] for share in shares], dtype=torch.float64))


@pytest.mark.parametrize("steps", range(1, 40))
def test_slanted_triangular_never_leaves_its_range(steps):
    found = values(lambda o: make_schedule("slanted_triangular", o, steps=steps), run=steps + 1) / torch.tensor(RATES)
    assert found.min() >= 1 / 32 - 1e-6
    assert found.max() <= 1 + 1e-6


@pytest.mark.parametrize("name", ["constant", "cosine", "cosine_restarts"])
def test_a_warm_up_rises_straight_and_then_the_schedule_begins(name):
    warm, steps = 5, 40
    settings = {"first_steps": 10, "growth": 2} if name == "cosine_restarts" else {}
    found = values(lambda o: make_schedule(name, o, steps=steps, warmup_steps=warm, **settings), run=steps)
    after = values(lambda o: make_schedule(name, o, steps=steps - warm, **settings), run=steps - warm)
    same(found[warm:], after)
    risen = [[rate * (step + 1) / warm for rate in RATES] for step in range(warm)]
    same(found[:warm], torch.tensor(risen, dtype=torch.float64))


def test_a_warm_up_and_a_cosine_are_torch_s_in_turn():
    warm, steps = 5, 40

    def theirs(optimizer):
        rise = LinearLR(optimizer, start_factor=1 / warm, total_iters=warm - 1)
        return SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, T_max=steps - warm)], milestones=[warm])

    same(
        values(lambda o: make_schedule("cosine", o, steps=steps, warmup_steps=warm), run=steps),
        values(theirs, run=steps),
    )


def test_a_schedule_goes_on_from_its_state():
    for name in ("constant", "cosine", "cosine_restarts", "one_cycle", "slanted_triangular"):
        whole = values(lambda o, name=name: make_schedule(name, o, steps=20, first_steps=4), run=20, momentum=0.9)
        first, second = optimizer_of(momentum=0.9), optimizer_of(momentum=0.9)
        begun = make_schedule(name, first, steps=20, first_steps=4)
        for _ in range(9):
            first.step()
            begun.step()
        again = make_schedule(name, second, steps=20, first_steps=4)
        second.load_state_dict(first.state_dict())
        again.load_state_dict(begun.state_dict())
        assert [group["lr"] for group in second.param_groups] == whole[9].tolist(), name
        second.step()
        again.step()
        assert [group["lr"] for group in second.param_groups] == whole[10].tolist(), name


WRONG = {
    "one cycle": ({"name": "one_cycle", "warmup_steps": 2}, "it rises by itself"),
    "slanted triangular": ({"name": "slanted_triangular", "warmup_steps": 2}, "it rises by itself"),
    "as long as the phase": ({"name": "cosine", "warmup_steps": 10}, "a warm-up of 10 steps, of 10"),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_warm_up_that_cannot_be(given, says):
    with pytest.raises(RatesError, match=says):
        make_schedule(optimizer=optimizer_of(), steps=10, **given)
