"""A confusion matrix as a file: the colour of every cell is that of the page."""

import numpy as np
from matplotlib.colors import to_rgb

from frostline.report.confusion import heat
from frostline.report.figures.heat_map import draw_matrix
from frostline.report.figures.paper import HEAT, SUNK


def test_each_cell_has_the_opacity_of_the_page() -> None:
    shares = ((0.75, 0.25, 0.0), (0.0, 1.0, 0.0), (0.1, 0.2, 0.7))
    with draw_matrix("m", ("a", "b", "c"), shares, (("3", "1", "0"),) * 3) as figure:
        (image,) = figure.axes[0].images
        drawn = np.asarray(image.get_array())
        for row in range(3):
            for column in range(3):
                share = heat(shares[row][column])
                colour = np.array(to_rgb(HEAT["right" if row == column else "wrong"]))
                np.testing.assert_allclose(drawn[row, column], share * colour + (1 - share) * np.array(to_rgb(SUNK)))
        assert len(figure.axes[0].texts) == 6, "no number stands where there is nothing"
