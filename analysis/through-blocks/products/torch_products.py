#!/usr/bin/env python3
"""PyTorch's gradient and products for the settings of `cargo bench --bench network`, in the same rows.

CIFAR ResNet-18 of width 64, 64 images of 32x32, evaluation mode, f32: the last block and the head (what lies before them
computed once), then all parameters. A Hessian product is a double backward: once with the graph of the gradient built
anew, once with it kept between products. A Gauss-Newton product is a forward-mode product, the softmax curvature, and
one backward. Usage: python3 torch_products.py [ROUNDS] [last|all]
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x):
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + self.downsample(x))


def networks():
    """Name, network and input."""
    head = lambda: (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    yield "last", nn.Sequential(Block(512, 512, 1), *head()), torch.rand(64, 512, 4, 4)
    stem = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [Block(a, b, 1 if a == b else 2) for a, b in zip(widths, widths[1:])]
    yield "all", nn.Sequential(*stem, *blocks, *head()), torch.rand(64, 3, 32, 32)


def median(work, rounds):
    """Seconds; the first round warms up."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[rounds // 2]


def measure(name, net, x, rounds):
    net.eval()
    labels = torch.arange(64) % 10
    names, parameters = zip(*net.named_parameters())
    vector = tuple(torch.randn_like(p) for p in parameters)
    logits = lambda *values: torch.func.functional_call(net, dict(zip(names, values)), (x,))
    gradient = lambda create: torch.autograd.grad(F.cross_entropy(net(x), labels), parameters, create_graph=create)
    double = lambda gradients, keep: torch.autograd.grad(gradients, parameters, vector, retain_graph=keep)

    def gauss_newton():
        _, tangent = torch.func.jvp(logits, parameters, vector)
        z = net(x)
        p = z.softmax(1)
        seed = (p * (tangent - (p * tangent).sum(1, keepdim=True))).detach() / len(labels)
        torch.autograd.grad(z, parameters, seed)

    kept = gradient(True)
    works = {
        "gradient": lambda: gradient(False),
        "H v, double backward": lambda: double(gradient(True), False),
        "H v, double backward, graph of the gradient kept": lambda: double(kept, True),
        "G v": gauss_newton,
    }
    seconds = {work: median(run, rounds) for work, run in works.items()}
    count = sum(p.numel() for p in parameters)
    for work, time_taken in seconds.items():
        print(f"| {name} | {count} | PyTorch: {work} | {time_taken * 1e3:.0f} | {time_taken / seconds['gradient']:.2f} |")


def main():
    torch.manual_seed(0)
    rounds = next((int(argument) for argument in sys.argv[1:] if argument.isdigit()), 5)
    for name, net, x in networks():
        if not {"last", "all"} & set(sys.argv) or name in sys.argv:
            measure(name, net, x, rounds)


if __name__ == "__main__":
    main()
