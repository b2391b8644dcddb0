"""Guards: notice that the held part is no longer what was recorded, and undo what half a replay did."""

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every_module

from frostline.freezing import PlanHandle, digest
from frostline.replaying.fingerprint import numpy_state
from frostline.replaying.guarding.picture import MISSING, WRITTEN, Change, Picture, Place, equal
from frostline.replaying.guarding.reach import Reach, is_library
from frostline.replaying.guarding.sums import ManySums
from frostline.replaying.keeping import Keeper
from frostline.replaying.probe.frontier import Frontier
from frostline.replaying.probe.watched import is_anybodys, tensors_below
from frostline.replaying.refusal import Refusal
from frostline.replaying.standin import StandIn
from frostline.selection import parents_of

# Of torch, in every module; what is kept under a name of the user's may be a cache.
_TORCHS = frozenset(vars(nn.Module())) | {"_compiled_call_impl"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_EVERYWHERE = ("_global_forward_hooks", "_global_forward_pre_hooks")
# What runs backward does not come by what is held, and the rest is for state dicts.
_NO_MATTER = frozenset(
    {key for key in _TORCHS if "backward" in key or "state_dict" in key} | {"_non_persistent_buffers_set", "train"}
)
# To compute again what was probed costs some steps; nobody's caches change that often.
_OFTEN_STEPS = 100
_AT_FIRST = 4
# What changes so often around what is held, and matters as often not, is kept by the network itself.
_OFTEN_HARMLESS = 2
_VERSION, _TRAINED = attrgetter("_version"), attrgetter("requires_grad")


class Guard:
    """Notices when something that stored values depend on changes, and when somebody wants to look into what is held.

    Tensors are compared by what they hold. Of all else that modules keep, public attributes are their settings: where
    one has another value, replay is off. Private ones of the user's may be caches that fill as the modules run: where
    one changes, the probed samples are computed again, and what comes out decides.

    Args:
        handle: the plan in force; the stand-ins are there.
        tensors: names of parameters and buffers.
        frontier: knows which modules are not run any more, and which of them stored values depend on.
        same: computes the probed samples again, and says whether the held part still gives what was recorded.

    Attributes:
        keeper: knows what those modules keep that are run.
    """

    def __init__(
        self, handle: PlanHandle, tensors: Iterable[str], *, frontier: Frontier, same: Callable[[], bool]
    ) -> None:
        every = dict(handle.model.named_modules(remove_duplicate=False))
        self._places = {name: (every[name.rpartition(".")[0]], name.rpartition(".")[2]) for name in tensors}
        self._note()
        self._digests = {name: handle.before.get(name) or digest(self._tensor(name)) for name in self._places}
        self._sums = ManySums(self._tensors())
        self._same = same
        self._glances = self._computed = 0
        calls = {name for name, _ in frontier.calls}
        modules = calls.union(*frontier.depends.values())
        roots = {name: every[name] for name in sorted(modules) if name in every}
        looked_up = {id(part) for name in calls for part in every[name].modules()}
        self.keeper = Keeper(part for part in handle.model.modules() if id(part) not in looked_up)
        self._modules = {part: inner for name, root in roots.items() for inner, part in root.named_modules(prefix=name)}
        self._types = list(map(type, self._modules))
        self._asleep = frozenset(
            id(part) for root in roots.values() if any(True for _ in tensors_below(root)) for part in root.modules()
        )
        self._parameters = list({id(one): one for root in roots.values() for one in root.parameters()}.values())
        reach = Reach()
        for part, name in self._modules.items():
            reach.add(part, _forward(part), name)
        self._around = {name: every[name] for name in _around(frontier)}
        for name, part in self._around.items():
            reach.add(part, _forward(part), name or "the network")
        self._reads = reach.names
        self._places_of_held = [*self._roots(), *_ways(handle.model, roots), *reach.places()]
        self._harmless: Counter[tuple[str, Any]] = Counter()
        self._take()

    def glance(self) -> None:
        """See whether anything was changed; if so, whether it is something else now.

        Raises:
            Refusal: it is, or a hook was put on a module that is not run any more.
        """
        self._look(closely=False)

    def look(self) -> None:
        """Also see what was written past torch's counters, and into arrays and long containers.

        Raises:
            Refusal: something is another.
        """
        self._look(closely=True)
        for name in self._sums.moved(self._tensors()):
            self._compare(name)

    # -- tensors

    def _note(self) -> None:
        """Keep where each tensor hangs, and what it is now."""
        self._spots = [
            (module._parameters if key in module._parameters else module._buffers, key)
            for module, key in self._places.values()
        ]
        self._there = [*self._tensors().values()]
        # Of those of inference mode nobody keeps count.
        self._counted = {name: one for name, one in self._tensors().items() if not one.is_inference()}
        self._counts = list(map(_VERSION, self._counted.values()))

    def _check_tensors(self) -> None:
        """Compare the tensors that were replaced or written into since they were noted.

        Raises:
            Refusal: one holds something else.
        """
        now = [place.get(key) for place, key in self._spots]
        changed = {
            name for name, found, there in zip(self._places, now, self._there, strict=True) if found is not there
        }
        written = zip(self._counted.items(), self._counts, strict=True)
        for name in changed | {name for (name, tensor), count in written if tensor._version != count}:
            self._compare(name)
        self._note()

    def _tensor(self, name: str) -> Tensor:
        module, key = self._places[name]
        # Somebody may have put another tensor in its place.
        tensor: Tensor | None = module._parameters.get(key, module._buffers.get(key))
        if tensor is None:
            raise Refusal(f"the held {name} is gone")
        return tensor

    def _tensors(self) -> dict[str, Tensor]:
        return {name: self._tensor(name) for name in self._places}

    def _compare(self, name: str) -> None:
        if digest(self._tensor(name)) != self._digests[name]:
            raise Refusal(f"the held {name} is not what it was when the prefix was recorded")

    # -- all else

    def _roots(self) -> Iterator[Place]:
        classes: dict[type, str] = {}
        for part, name in self._modules.items():
            yield Place("module", name, vars(part))
            yield Place("tensors", name, part._parameters)
            yield Place("tensors", name, part._buffers)
            yield Place("parts", name, part._modules)
            for key in _HOOKS:
                yield Place("hooks", f"{name}, which is not run any more", getattr(part, key))
            classes |= {one: name for one in type(part).__mro__[:-1] if one not in classes}
        for one, name in classes.items():
            yield Place("class", f"{one.__name__}, the class of {name}", vars(one))
        for key in _EVERYWHERE:
            yield Place("hooks", "all modules, some of which are not run any more", getattr(every_module, key))

    def _take(self) -> None:
        self._picture = Picture([*self._places_of_held, *self._settings_around()], skips=_is_no_setting)

    def _settings_around(self) -> Iterator[Place]:
        """Give the settings of modules around, without what the network keeps anew in every step."""
        for name, part in self._around.items():
            above = name or "the network"
            defaults = {key: None for one in type(part).__mro__[:-1] for key in vars(one).keys() & self._reads}
            keys = [
                key
                for key in {**vars(part), **defaults}
                if key not in _TORCHS and key != "train" and self._harmless[above, key] < _OFTEN_HARMLESS
            ]
            yield Place("around", above, vars(part), tuple(keys), private=True)

    def _look(self, *, closely: bool) -> None:
        # Once a step, over all held tensors and modules.
        self._glances += 1
        now = (place.get(key) for place, key in self._spots)
        if not all(map(is_, now, self._there)) or list(map(_VERSION, self._counted.values())) != self._counts:
            self._check_tensors()
        if any(map(_TRAINED, self._parameters)):
            trained = next(one for one in self._parameters if one.requires_grad)
            raise Refusal(f"the held {self._name_of(trained)} is to be trained now")
        if list(map(type, self._modules)) != self._types:
            raise Refusal("a held module is of another class than when the prefix was recorded")
        if changes := self._picture.changes(closely=closely):
            self._settle(changes)

    def _name_of(self, tensor: Tensor) -> str:
        return next(
            f"{name}.{key}".lstrip(".")
            for part, name in self._modules.items()
            for key, one in part._parameters.items()
            if one is tensor
        )

    def _settle(self, changes: list[Change]) -> None:
        unsure = [change for change in changes if self._is_unsure(change)]
        if unsure:
            what = f"{unsure[0].key} of {unsure[0].place.name}"
            self._computed += 1
            if self._computed > _AT_FIRST + self._glances // _OFTEN_STEPS:
                raise Refusal(f"{what} changes again and again")
            try:
                same = self._same()
            except Exception as error:  # whatever it is, the held part does not run as it did
                raise Refusal(f"{what} changed: {error}") from error
            if not same:
                raise Refusal(f"{what} changed, and so did what is computed with it")
            self._harmless.update((change.place.name, change.key) for change in unsure)
            if any(change.place.kind == "around" for change in unsure):
                self._take()
                return
            # To compute may have filled it anew.
            changes = [*changes, *self._picture.changes()]
        self._picture.renew(changes)

    def _is_unsure(self, change: Change) -> bool:
        """Say whether only computing tells if a change matters.

        Raises:
            Refusal: it does.
        """
        place, key, old, new = change.place, change.key, change.old, change.new
        what = f"{key} of {place.name} is not what it was when the prefix was recorded"
        if place.kind == "around":
            return not equal(old, new)
        if place.kind == "hooks":
            if _counted(old) or _counted(new):
                some = "a hook was put on" if new is not MISSING else "a hook was taken from"
                raise Refusal(f"{some} {place.name}")
            return False
        if place.kind == "parts":
            raise Refusal(f"the part {what}")
        if place.kind == "tensors":
            if old is MISSING or new is MISSING or (old is None) != (new is None):
                raise Refusal(f"the tensor {what}")
            return False
        if equal(old, new) or key in _NO_MATTER:
            return False
        if place.kind == "module" and key == "training":
            if new and any(id(part) in self._asleep for part in self._modules if vars(part) is place.space):
                raise Refusal(f"the held {place.name} is in train mode now")
            return False
        if place.kind == "class" and str(key).startswith("__"):
            return False
        if (place.kind == "module" and key in _TORCHS) or key == "forward":
            raise Refusal(what)
        if place.private or str(key).startswith("_"):
            return True
        if old is MISSING and place.kind == "module":
            # A default of the class may have stood for it.
            shadows = any(key in vars(one) for part in self._modules if vars(part) is place.space
                          for one in type(part).__mro__)  # fmt: skip
            if not shadows:
                return True
        elif (old is MISSING and new is not WRITTEN) or (place.kind == "object" and key not in self._reads):
            # Something more in a container, or in an object that has much for others.
            return True
        raise Refusal(what)


def _around(frontier: Frontier) -> set[str]:
    """Name the modules whose code works on real tensors on their way to something that is looked up.

    What is done to ghosts is compared in every step. Tensors that are handed out, made again of such, or given to the
    network beside its samples are followed by nobody, and those that are made of several held ones have no name: what
    their way depends on is looked at in its place.
    """
    if len(frontier.live) == 1 and not (frontier.needed or frontier.again or frontier.steps_seen.has_nameless):
        return set()
    names = {name for name, _ in frontier.calls} | frontier.again
    return {parent for name in names for parent in parents_of(name)} | frontier.again


def _forward(module: nn.Module) -> Any:
    """Give the forward that a module has without its stand-in."""
    own = vars(module).get("forward", type(module).forward)
    while isinstance(own, StandIn):
        own = own.original
    return own


def _counted(hook: Any) -> bool:
    return hook is not None and hook is not MISSING and is_anybodys(hook)


def _ways(model: nn.Module, roots: Iterable[str]) -> Iterator[Place]:
    """Name the places where modules hang, from the network down to each root."""
    keys: dict[nn.Module, tuple[str, dict[str, None]]] = {}
    for name in roots:
        parent, above = model, "the network"
        for part in name.split("."):
            keys.setdefault(parent, (above, {}))[1][part] = None
            parent, above = parent._modules[part] or parent, part if parent is model else f"{above}.{part}"
    for parent, (above, parts) in keys.items():
        yield Place("parts", above, parent._modules, tuple(parts))


def _is_no_setting(place: Place, key: Any, value: Any) -> bool:
    """Whether nothing in a value is of interest, or somebody else looks at it."""
    if place.kind in ("tensors", "parts", "hooks") or isinstance(value, StandIn):
        return True
    if place.kind == "module" and (key in _TORCHS or key == "train"):
        return True
    if place.kind == "class" and str(key).startswith("__"):
        return True
    kind = type(value)
    return is_library(kind.__module__) and not (
        isinstance(value, (list, dict, set, Tensor)) or kind.__name__ in ("Namespace", "SimpleNamespace", "ndarray")
    )


class Undo:
    """What a forward pass changes, so that one that was begun in vain leaves no trace.

    That is buffers, generators, and what the modules that run keep as plain attributes.

    Args:
        buffers: modules, and the names of those of their buffers that may move.
        keeper: knows what the modules that run keep.
        device: where the network is.
    """

    def __init__(self, buffers: Iterable[tuple[nn.Module, str]], keeper: Keeper, *, device: torch.device) -> None:
        self._buffers = [
            (module, key, buffer, buffer.clone())
            for module, key in buffers
            if (buffer := module._buffers[key]) is not None
        ]
        self._put_back = keeper.keep()
        self._python = random.getstate()
        self._torch = torch.get_rng_state()
        self._device = device
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self._numpy = numpy_state()

    def __call__(self) -> None:
        """Put everything back."""
        random.setstate(self._python)
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
        # The same answer: nobody drew. To ask for all of it takes longer than many a step.
        if self._numpy is not None and numpy_state() is not self._numpy:
            sys.modules["numpy.random"].set_state(self._numpy)
        self._put_back()
        with torch.no_grad():
            for module, key, buffer, before in self._buffers:
                module._buffers[key] = buffer
                buffer.copy_(before)
