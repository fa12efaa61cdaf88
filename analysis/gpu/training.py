"""The steps of benches/device_training.rs in PyTorch: the same networks, batches and optimiser, on the same card.

usage: python3 training.py [repeats]
Prints milliseconds (median) for each network, precision and kind of step.
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, c_in, width, c_out, stride, bottleneck):
        super().__init__()
        kernels = [(c_in, width, 1, 1), (width, width, 3, stride), (width, c_out, 1, 1)]
        if not bottleneck:
            kernels = [(c_in, c_out, 3, stride), (c_out, c_out, 3, 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, k, s, k // 2, bias=False) for a, b, k, s in kernels
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b, _, _ in kernels)
        self.shortcut = None
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x):
        h = x
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms)):
            h = norm(convolution(h))
            if index + 1 < len(self.convolutions):
                h = F.relu(h)
        return F.relu(h + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck, small, classes):
        super().__init__()
        self.small = small
        stem = nn.Conv2d(3, 64, 3, 1, 1, bias=False) if small else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(64), nn.ReLU())
        layers, c_in = [], 64
        for stage, count in enumerate(blocks):
            width = 64 << stage
            c_out = 4 * width if bottleneck else width
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(Block(c_in, width, c_out, stride, bottleneck))
                c_in = c_out
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(c_in, classes)

    def forward(self, x):
        x = self.stem((x - 0.45) / 0.25)
        if not self.small:
            x = F.max_pool2d(x, 3, 2, 1)
        return self.head(self.layers(x).mean((2, 3)))


def perturbed(model, images, labels, steps, epsilon):
    """PGD in the L2 ball, the model in evaluation mode."""
    model.eval()
    step, moved = 2.5 * epsilon / steps, images
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(model(moved), labels), moved)
        length = slope.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None, None]
        change = moved.detach() + step * slope / length - images
        length = change.flatten(1).norm(dim=1)[:, None, None, None]
        moved = (images + change * (epsilon / length.clamp_min(epsilon))).clamp(0, 1)
    model.train()
    return moved.detach()


def measure(name, model, images, labels, repeats, attack, half):
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            seen = perturbed(model, images, labels, 7, 0.5) if attack else images
            loss = F.cross_entropy(model(seen), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.item()

    for _ in range(5):
        step()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        began = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - began))
    print(f"pytorch  {name:46} {statistics.median(times):9.3f} ms", flush=True)


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    print("pytorch ", torch.__version__, torch.cuda.get_device_name(0), "cuDNN", torch.backends.cudnn.version())
    torch.manual_seed(0)
    # Deterministic: kernels whose sums run in a fixed order, which are the only ones that ascribe uses.
    kinds = [
        ("f32", False, False, False),
        ("f32 deterministic", False, False, True),
        ("tf32", True, False, False),
        ("tf32 deterministic", True, False, True),
        ("bf16", True, True, False),
    ]
    networks = [
        ("resnet18 cifar 128x32", ResNet((2, 2, 2, 2), False, True, 100), 128, 32),
        ("resnet50 64x224", ResNet((3, 4, 6, 3), True, False, 1000), 64, 224),
    ]
    for network, model, batch, side in networks:
        model = model.cuda().train()
        images = torch.rand(batch, 3, side, side, device="cuda")
        labels = torch.randint(0, model.head.out_features, (batch,), device="cuda")
        for kind, tf32, half, deterministic in kinds:
            torch.backends.cudnn.deterministic = deterministic
            torch.backends.cudnn.allow_tf32 = tf32
            torch.backends.cuda.matmul.allow_tf32 = tf32
            measure(f"{network} {kind} step", model, images, labels, repeats, False, half)
            if side == 32:
                measure(f"{network} {kind} PGD-7 step", model, images, labels, repeats, True, half)


if __name__ == "__main__":
    main()
