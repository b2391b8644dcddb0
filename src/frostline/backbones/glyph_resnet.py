"""A small residual network with BatchNorm for one-channel images of 8 x 8; its weights were trained on glyphs."""

from torch import Tensor, nn
from torch.nn.functional import relu

from frostline.backbones.network import InputSpec

# Mean and deviation near those of the rendered glyphs.
GLYPH_INPUT = InputSpec(size_px=8, mean=(0.3,), std=(0.375,), channels="grey")


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm, added to their input.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; where they differ from the input's, a 1 x 1 convolution fits the sum.
        stride: Of the first convolution; 2 halves the resolution.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map features to features.

        Args:
            x_NCHW: N x in_channels x H x W.

        Returns:
            N x out_channels x H/stride x W/stride.
        """
        h_NCHW = relu(self.bn1(self.conv1(x_NCHW)))
        h_NCHW = self.bn2(self.conv2(h_NCHW))
        return relu(h_NCHW + self.shortcut(x_NCHW))


class GlyphResNet(nn.Module):
    """Classify one-channel images of 8 x 8: a convolution, three stages of residual blocks, a linear layer.

    Args:
        num_classes: Width of the output.
    """

    def __init__(self, *, num_classes: int) -> None:
        super().__init__()
        widths = (32, 64, 128)
        self.conv1 = nn.Conv2d(1, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = nn.Sequential(ResidualBlock(in_channels=widths[0], out_channels=widths[0], stride=1))
        self.layer2 = nn.Sequential(ResidualBlock(in_channels=widths[0], out_channels=widths[1], stride=2))
        self.layer3 = nn.Sequential(ResidualBlock(in_channels=widths[1], out_channels=widths[2], stride=2))
        self.fc = nn.Linear(widths[2] * 2 * 2, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Score images.

        Args:
            x_NCHW: N x 1 x 8 x 8, normalised.

        Returns:
            Logits, N x num_classes.
        """
        h_NCHW = relu(self.bn1(self.conv1(x_NCHW)))
        h_NCHW = self.layer3(self.layer2(self.layer1(h_NCHW)))
        h_NC = h_NCHW.flatten(1)
        logits_NK: Tensor = self.fc(h_NC)
        return logits_NK
