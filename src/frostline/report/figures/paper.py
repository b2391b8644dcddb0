"""What all figures are drawn on: white paper, the colours of the page by day, the same bytes for the same data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.report.drawing import UNWRITABLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 160

# As in the style sheet of the page; a test compares them.
INK, MUTED, LINE, SUNK = "#12202e", "#51647a", "#d5e0ea", "#eef3f8"
COLD, WARM = "#8fd0f2", "#f7a35c"
HEAT = {"right": "#58b0e3", "wrong": "#f2913d"}
LOOKS = {1: "#64748b", 2: "#0e76b4", 3: "#c65a11", 4: "#6d4fc4", 5: "#12805c", 6: "#b0286f"}

STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, and so is the same everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.parse_math": False,  # a name with dollar signs is a name and no formula
    "text.usetex": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "frostline",  # and its marks are called the same every time
}
# Names of a drawing's letters that its font lacks are no reason to stop: an SVG has them as text.
MISSING = "Glyph .* missing from"


@contextmanager
def paper(width: float, height: float) -> Iterator["Figure"]:
    """Give an empty figure of a size in inches, in a style that ends with it."""
    import warnings

    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(
            figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12), facecolor="white"
        )
        FigureCanvasAgg(figure)
        yield figure


def save(figure: "Figure", folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as PNG and as SVG, without a date; give where they lie. The style must still hold."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    figure.savefig(png, dpi=DPI, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None, "Creator": "frostline"})
    return png, svg


def written(text: str) -> str:
    """Give a text that a figure can hold: without control characters, which no SVG may have, and in one line."""
    return " ".join(UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text).split())


def bare(axes: "Axes") -> None:
    """Take the frame and the marks of the ticks away."""
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
