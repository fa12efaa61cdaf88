"""The residual networks of torchvision, written out, with the stem of CIFAR where asked for."""

import torch
from torch import nn


class Basic(nn.Module):
    expansion = 1

    def __init__(self, c_in, c, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.downsample = shortcut(c_in, c, stride)

    def forward(self, x):
        h = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(h)) + self.downsample(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, c_in, c, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c)
        self.conv2 = nn.Conv2d(c, c, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c)
        self.conv3 = nn.Conv2d(c, 4 * c, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * c)
        self.downsample = shortcut(c_in, 4 * c, stride)

    def forward(self, x):
        h = torch.relu(self.bn1(self.conv1(x)))
        h = torch.relu(self.bn2(self.conv2(h)))
        return torch.relu(self.bn3(self.conv3(h)) + self.downsample(x))


def shortcut(c_in, c_out, stride):
    if c_in == c_out and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


class ResNet(nn.Module):
    """`blocks` lists the residual blocks in turn, so that the last ones can be told from the rest."""

    def __init__(self, kind, counts, widths, classes, cifar):
        super().__init__()
        c = widths[0]
        stem = [nn.Conv2d(3, c, 3, 1, 1, bias=False) if cifar else nn.Conv2d(3, c, 7, 2, 3, bias=False),
                nn.BatchNorm2d(c), nn.ReLU()]
        self.stem = nn.Sequential(*stem, *([] if cifar else [nn.MaxPool2d(3, 2, 1)]))
        self.blocks = nn.ModuleList()
        for stage, (count, width) in enumerate(zip(counts, widths)):
            for index in range(count):
                self.blocks.append(kind(c, width, 2 if stage > 0 and index == 0 else 1))
                c = width * kind.expansion
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean((2, 3)))


NETWORKS = {
    "cifar-resnet14-w16": lambda classes: ResNet(Basic, (2, 2, 2), (16, 32, 64), classes, True),
    "cifar-resnet18": lambda classes: ResNet(Basic, (2, 2, 2, 2), (64, 128, 256, 512), classes, True),
    "resnet50": lambda classes: ResNet(Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512), classes, False),
}
