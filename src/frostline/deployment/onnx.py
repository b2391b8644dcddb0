"""A network → an ONNX model that says what it takes, checked with onnxruntime against torch."""

import contextlib
import importlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from frostline.backbones import InputSpec, Spec
from frostline.deployment.agreement import MOST_APART, distance
from frostline.errors import FrostlineError, RunError, RunFailure
from frostline.selection import call, undisturbed
from frostline.tasks import Inputs, scores

# The last is what torch's exporter is written in.
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# Of a network for pictures there is one input; one for texts has those of its tokenizer.
IMAGES, OUTPUT = "images", "scores"
# How transformers calls the way in which attention is computed, and the method that chooses it.
KIND, SWITCH = "_attn_implementation", "set_attn_implementation"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class _Scores(nn.Module):
    """A network that gives its class scores alone, whatever else it gives; arguments by their places."""

    def __init__(self, network: nn.Module, spec: Spec) -> None:
        super().__init__()
        self.network = network
        self.names = (IMAGES,) if isinstance(spec, InputSpec) else spec.names
        self.is_named = not isinstance(spec, InputSpec)

    def forward(self, *given: Tensor) -> Tensor:
        inputs = dict(zip(self.names, given, strict=True)) if self.is_named else given[0]
        return scores(call(self.network, inputs))

    def listed(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Give what a network is given by places."""
        return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs[name] for name in self.names)


def onnx_model(model: nn.Module, spec: Spec, *, about: dict[str, Any], opset: int | None = None) -> tuple[bytes, float]:
    """Turn a network into ONNX and compare the two on random inputs.

    Args:
        model: on the CPU, in eval mode.
        spec: what it takes.
        about: what the model should say of itself; each value is kept as JSON, texts as they are.
        opset: version of ONNX's operators; None: what torch's exporter writes by default.

    Returns:
        The model: input `images` (N × C × H × W, normalised, any N), or those of the tokenizer (N × L, any N and L),
        output `scores` (N × K). And how far its scores are from torch's at most, as a share of the largest score.

    Raises:
        RunError: onnx, onnxscript or onnxruntime is not installed, or an opset that cannot be written.
        RunFailure: the network cannot be exported, or its export computes something else.
    """
    packages = _packages()
    wrapped = _Scores(model, spec).eval()
    with undisturbed(wrapped), _quiet():
        try:
            content, session, written = _exported(wrapped, spec, packages, about=about, opset=opset)
        except FrostlineError:
            # torch's exporter loses its way in some networks' fused attention (Swin's with any number of images).
            with _plain_attention(model) as is_other:
                if not is_other:
                    raise
                content, session, written = _exported(wrapped, spec, packages, about=about, opset=opset)
        if opset is not None and written != opset:
            raise _wrong_opset(opset, f"torch's exporter gives {written}, and it cannot be converted")
        apart = distance(
            lambda inputs: _run(session, wrapped.names, wrapped.listed(inputs)),
            lambda inputs: wrapped(*wrapped.listed(inputs)),
            spec=spec,
        )
    if not apart <= MOST_APART:
        raise RunFailure(
            "export to ONNX",
            found=f"its scores are {apart:.1e} of the largest away from torch's, and {MOST_APART:g} is allowed",
            do="write the weights alone (`--format weights`), or try another `--opset`",
        )
    return content, apart


def _exported(
    wrapped: _Scores,
    spec: Spec,
    packages: tuple[ModuleType, ModuleType],
    *,
    about: dict[str, Any],
    opset: int | None,
) -> tuple[bytes, Any, int]:
    """Export once: the model, a session that runs it, and the opset that it is written in."""
    onnx, runtime = packages
    example = wrapped.listed(spec.noise(2, generator=torch.Generator().manual_seed(0)))
    free = {0: torch.export.Dim("batch")} | ({1: torch.export.Dim("tokens")} if wrapped.is_named else {})
    try:
        program: Any = torch.onnx.export(
            wrapped,
            example,
            input_names=list(wrapped.names),
            output_names=[OUTPUT],
            dynamic_shapes={"given": tuple(free for _ in example)},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        proto = program.model_proto
        written = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        onnx.helper.set_model_props(
            proto, {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
        )
        content: bytes = proto.SerializeToString()
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        return content, runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"]), written
    except Exception as error:  # of torch's exporter, of what it calls, or of a runtime that cannot read it
        raise _not_exported(error, opset) from None


@contextlib.contextmanager
def _plain_attention(model: nn.Module) -> Iterator[bool]:
    """Let the networks of transformers compute attention step by step, and give back how they did it.

    Yields:
        Whether anything is computed in another way now.
    """
    modules: Iterator[Any] = model.modules()
    parts = [part for part in modules if hasattr(part, SWITCH) and hasattr(getattr(part, "config", None), KIND)]
    before = [(config, config._attn_implementation) for part in parts for config in _configs(part.config)]
    try:
        for part in parts:
            part.set_attn_implementation("eager")
        yield any(config._attn_implementation != kind for config, kind in before)
    finally:
        for config, kind in before:
            # Not through the network, which refuses the None of a part that it never made; "" is for this config alone.
            config._attn_implementation = {"": kind}


def _configs(config: Any) -> Iterator[Any]:
    """Go through a configuration of transformers and those within it."""
    yield config
    for name in config.sub_configs:
        if (inner := getattr(config, name, None)) is not None:
            yield from _configs(inner)


def _run(session: Any, names: Sequence[str], given: Sequence[Tensor]) -> Tensor:
    feed = {name: tensor.numpy() for name, tensor in zip(names, given, strict=True)}
    return torch.from_numpy(session.run([OUTPUT], feed)[0])


def _packages() -> tuple[ModuleType, ModuleType]:
    try:
        onnx, runtime, _ = map(importlib.import_module, PACKAGES)
    except ImportError as error:
        raise RunError(
            "export to ONNX",
            found=f"{error.name or 'a package'} is not installed",
            do="`pip install 'frostline[onnx]'`",
        ) from None
    return onnx, runtime


def _not_exported(error: Exception, opset: int | None) -> FrostlineError:
    reason = _innermost(error)
    if opset is not None:
        return _wrong_opset(opset, reason)
    return RunFailure(
        "export to ONNX",
        found=f"the network cannot be exported ({reason})",
        do="write the weights alone (`--format weights`)",
    )


def _innermost(error: BaseException) -> str:
    """Say in one plain line what an error goes back to; torch's exporter begins with coloured advice for developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = (line.strip() for line in COLOUR.sub("", str(error)).splitlines())
    text = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _wrong_opset(opset: int, reason: str) -> RunError:
    return RunError(f"export to ONNX with opset {opset}", found=reason, do="leave --opset out")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter prints, warns of and logs from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
