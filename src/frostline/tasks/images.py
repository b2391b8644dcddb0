"""The task `images`: one label a picture."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from frostline.backbones import InputSpec
from frostline.data.augment import Augment, Mix, seed_of
from frostline.data.pictures import fitted, stretch, to_input
from frostline.data.samples import Samples
from frostline.data.sampling import Draw, Entries, Order
from frostline.data.sharing import Share
from frostline.errors import UserError
from frostline.replaying import Views
from frostline.tasks.classification import Classification
from frostline.tasks.task import ALONE, Batch

# One for all runs, so that runs which differ in their seed share what is stored of the views.
VIEWS_SEED = 0


class Pictures(Dataset[tuple[Tensor, int, int]]):
    """The samples as a torch data set: the normalised picture, its label, its place.

    Args:
        samples: what there is.
        spec: what the network takes.
        augment: changes pictures that are drawn for training (`Draw`), never those that are asked for by place.
        seed: of the changes.
        drawn: change also those that are asked for by place, with a seed from torch's generator: for `Views`.
    """

    def __init__(
        self,
        samples: Samples,
        spec: InputSpec,
        *,
        augment: Augment | None = None,
        seed: int = 0,
        drawn: bool = False,
    ) -> None:
        self.samples = samples
        self.spec = spec
        self._augment = augment
        self._seed = seed
        self._drawn = drawn

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, at: int | Draw) -> tuple[Tensor, int, int]:
        place = at.place if isinstance(at, Draw) else at
        return self._image(at, place), int(self.samples.labels[place]), place

    def _image(self, at: int | Draw, place: int) -> Tensor:
        if self._augment is not None and isinstance(at, Draw):
            return self._changed(self._augment, place, seed_of(self._seed, at.epoch, at.position))
        if self._augment is not None and self._drawn:
            return self._changed(self._augment, place, int(torch.randint(2**63 - 1, ())))
        if self.samples.pixels is not None:
            return to_input(stretch(self.samples.pixels[place], self.spec.size_px), self.spec)
        return fitted(self.samples.open(place, at_least_px=self.spec.size_px), self.spec)

    def _changed(self, augment: Augment, place: int, seed: int) -> Tensor:
        picture = self.samples.open(place, at_least_px=augment.at_least_px)
        try:
            return augment(picture, seed)
        except Exception as error:  # whatever a transform raises that this picture cannot pass
            why = error.found if isinstance(error, UserError) else f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(
                "augment",
                found=f"{self.samples.name(place)} cannot pass it ({why})",
                do="take out the transform that fails, or mend its arguments",
            ) from None


@dataclass(frozen=True, kw_only=True)
class ImageTask(Classification):
    """Image classification: pictures, and what changes them for training.

    Attributes:
        spec: what the network takes.
        augment: random changes to training pictures, or None.
        views: draws of each training picture, fixed; None: another in every epoch.
        mix: mixes the pictures of a training batch, or None.
    """

    what: ClassVar[str] = "image"
    size_key: ClassVar[str] = "data.size"

    spec: InputSpec
    augment: Augment | None = None
    views: int | None = None
    mix: Mix | None = None

    def loader(self, samples: Samples, *, seed: int | None = None, share: Share = ALONE) -> DataLoader[Any]:
        """Make batches of pictures, augmented where a seed is given."""
        order: Sampler[Any] | None = None
        pictures: Dataset[Any] = Pictures(samples, self.spec)
        if seed is not None:
            order = Order(samples.labels, seed=seed, sampling=self.sampling)
            if self.augment is None:
                order = Entries(order)
            elif self.views is None:
                pictures = Pictures(samples, self.spec, augment=self.augment, seed=seed)
            else:
                order = Entries(order, views=self.views, seed=seed)
                pictures = Pictures(samples, self.spec, augment=self.augment, drawn=True)
                pictures = Views(pictures, views=self.views, seed=VIEWS_SEED)
        return self._batches(pictures, order, count=len(samples), seed=seed, share=share)

    def fills(self, samples: Samples, *, share: Share) -> bool:
        """Whether this process has nothing of the last batch."""
        return share.fills(len(samples), batch_size=self.batch_size)

    def mixed(self, batch: Batch, *, seed: tuple[int, ...]) -> Batch:
        """Mix the pictures of a training batch where that is asked for; the same for the same seed."""
        images_NCHW, labels, places_N = batch
        if self.mix is None or not isinstance(images_NCHW, Tensor):
            return batch
        return (*self.mix(images_NCHW, labels, seed=seed_of(*seed)), places_N)

    @property
    def regrouped(self) -> str | None:
        """Which pictures are mixed, where mixup or cutmix is asked for."""
        return None if self.mix is None else "other images would be mixed"

    @property
    def never_replayed(self) -> str | None:
        """Why what is frozen sees something else in every epoch, or None."""
        if self.mix is not None:
            return "mixup and cutmix mix images before the network"
        if self.augment is not None and self.views is None:
            return "`augment` is random: `replay: {views: 8}` keeps so many draws of every image"
        return None

    @property
    def changes(self) -> tuple[str, ...]:
        """The transforms and mixes, in words."""
        return (*(self.augment.description if self.augment else ()), *(self.mix.description if self.mix else ()))

    @property
    def given(self) -> dict[str, Any]:
        """Size, mean, deviation and order of channels."""
        return asdict(self.spec)
