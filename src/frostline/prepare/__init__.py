"""Making data: glyphs rendered from fonts."""

from frostline.prepare.glyphs import Glyphs, render_glyphs

__all__ = ["Glyphs", "render_glyphs"]
