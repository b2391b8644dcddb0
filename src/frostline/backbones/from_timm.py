"""A name in timm → its network, with the input that timm publishes for it."""

from collections.abc import Mapping

from torch import Tensor, nn

from frostline.backbones.network import Backbone, InputSpec
from frostline.backbones.refusals import not_made, unknown
from frostline.errors import NetworkError, nearest

FRESH_CLASSES = 1000
# Where a network lies that is no architecture of timm's, but was saved by `timm.models.save_for_hf`.
SAVED = ("hf-hub:", "hf_hub:", "local-dir:")


def from_timm(name: str, *, pretrained: bool) -> Backbone:
    """Build a network of timm.

    Args:
        name: an architecture, alone or with the tag of its weights: `resnet18`, `resnet18.a1_in1k`; or a network that
            somebody saved in timm's own way: `hf-hub:ORG/NAME`, `local-dir:FOLDER`.
        pretrained: fetch its weights; else they are random.

    Raises:
        NetworkError: no such architecture or tag, or weights that cannot be fetched.
    """
    import timm

    if not name.startswith(SAVED):
        _check(name)
    try:
        model = timm.create_model(name, pretrained=pretrained)
    except Exception as error:
        raise not_made(f"timm/{name}", error, pretrained=pretrained) from None
    notes: tuple[str, ...] = ()
    head: Mapping[str, Tensor] | None = None if pretrained else {}
    if isinstance(model.get_classifier(), nn.Identity):
        model.reset_classifier(FRESH_CLASSES)
        notes, head = (f"timm publishes {name} without a classifier: it has a new one",), {}
    published = timm.data.resolve_model_data_config(model)
    spec = InputSpec(
        size_px=published["input_size"][-1],
        mean=tuple(published["mean"]),
        std=tuple(published["std"]),
        channels="grey" if published["input_size"][0] == 1 else "rgb",
    )
    return Backbone(name=name, model=model, input=spec, notes=notes, head=head)


def _check(name: str) -> None:
    """See that timm has an architecture, and weights of that tag.

    Raises:
        NetworkError: it has not.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown(f"timm/{name}", timm.list_models(), "timm.list_models() lists them")
    tags = [known.partition(".")[2] for known in timm.models.get_arch_pretrained_cfgs(architecture)]
    if tag and tag not in tags:
        raise NetworkError(
            f"network timm/{name}",
            found=f"no weights {tag} for {architecture}; {nearest(tag, tags)}",
            do=f"write one of them, or timm/{architecture} alone",
        )
