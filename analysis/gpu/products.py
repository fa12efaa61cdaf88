"""The products of benches/device_products.rs with PyTorch: milliseconds on the same architectures, batch and blocks.

    python3 analysis/gpu/products.py --device cuda --architecture cifar-resnet18 --blocks 3 --batch 128

A ResNet in evaluation mode with random weights; what lies before the last blocks is computed once and not measured. With
theta the parameters of the last blocks and the head, and l the cross-entropy summed over the batch:

    gradient          one backward pass
    H v               double backward: the gradient of <gradient, v>
    G v               J v in forward mode, (diag p - p p^T) J v, one backward pass
    all <grad_i, v>   J v in forward mode, <p - e_y, J v> for each image

A block of 8 is 8 vectors at the same values: the forward pass (and for H v the gradient's graph) is shared where PyTorch can.
Each is timed with TF32 off and on (cuDNN and matrix products), medians over --rounds with the device's queue empty before and
after. --check compares H v with a difference of gradients and G v with explicit Jacobians, in double precision.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.func import functional_call, jvp

BLOCK = 8
CLASSES = 10
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def convolution(c_in, c_out, kernel, stride=1):
    return nn.Conv2d(c_in, c_out, kernel, stride, (kernel - 1) // 2, bias=False)


class Block(nn.Module):
    """A basic block or a bottleneck, the stride in the 3x3 convolution."""

    def __init__(self, c_in, width, stride, bottleneck):
        super().__init__()
        c_out = 4 * width if bottleneck else width
        if bottleneck:
            kernels = [(c_in, width, 1, 1), (width, width, 3, stride), (width, c_out, 1, 1)]
        else:
            kernels = [(c_in, width, 3, stride), (width, width, 3, 1)]
        self.convolutions = nn.ModuleList(convolution(*kernel) for kernel in kernels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(kernel[1]) for kernel in kernels)
        self.shortcut = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(convolution(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))

    def forward(self, x):
        h = x
        for index, (convolve, norm) in enumerate(zip(self.convolutions, self.norms)):
            h = norm(convolve(h))
            if index + 1 < len(self.convolutions):
                h = torch.relu(h)
        return torch.relu(h + self.shortcut(x))


def network(name):
    """Stem, blocks, head."""
    cifar = name.startswith("cifar-")
    depth = int(name.removeprefix("cifar-").removeprefix("resnet"))
    bottleneck = depth >= 50
    if cifar:
        stem = [convolution(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU()]
    else:
        stem = [convolution(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks, c_in = [], 64
    for stage, count in enumerate(DEPTHS[depth]):
        width = 64 << stage
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            blocks.append(Block(c_in, width, stride, bottleneck))
            c_in = 4 * width if bottleneck else width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, CLASSES)]
    return nn.Sequential(*stem), blocks, nn.Sequential(*head)


class Setting:
    """The fine-tuned part, what enters it, labels, and vectors."""

    def __init__(self, options, dtype):
        device = torch.device(options.device)
        torch.manual_seed(1)
        stem, blocks, head = network(options.architecture)
        first = len(blocks) - options.blocks
        prefix = nn.Sequential(stem, *blocks[:first]).to(device, dtype).eval()
        self.tail = nn.Sequential(*blocks[first:], head).to(device, dtype).eval()
        side = 32 if options.architecture.startswith("cifar-") else 224
        images = torch.rand(options.batch, 3, side, side, device=device, dtype=dtype)
        with torch.no_grad():
            self.x = prefix((images - 0.5) / 0.25)
        self.y = torch.arange(options.batch, device=device) % CLASSES
        self.names = [name for name, _ in self.tail.named_parameters()]
        self.theta = list(self.tail.parameters())
        self.size = sum(parameter.numel() for parameter in self.theta)
        self.vectors = [[torch.randn_like(p) for p in self.theta] for _ in range(BLOCK)]

    def logits(self, theta):
        return functional_call(self.tail, dict(zip(self.names, theta)), (self.x,))

    def loss(self):
        return nn.functional.cross_entropy(self.tail(self.x), self.y, reduction="sum")

    def gradient(self):
        return torch.autograd.grad(self.loss(), self.theta)

    def hessian(self, count):
        gradient = torch.autograd.grad(self.loss(), self.theta, create_graph=True)
        products = []
        for index in range(count):
            slope = sum((g * v).sum() for g, v in zip(gradient, self.vectors[index]))
            products.append(torch.autograd.grad(slope, self.theta, retain_graph=index + 1 < count))
        return products

    def tangents(self, vector):
        """Logits and J v."""
        theta = tuple(parameter.detach() for parameter in self.theta)
        return jvp(lambda *theta: self.logits(theta), theta, tuple(vector))

    def gauss_newton(self, count):
        logits = self.tail(self.x)
        p = logits.detach().softmax(1)
        products = []
        for index in range(count):
            _, along = self.tangents(self.vectors[index])
            seed = p * (along - (p * along).sum(1, keepdim=True))
            products.append(torch.autograd.grad(logits, self.theta, seed, retain_graph=index + 1 < count))
        return products

    def slopes(self, count):
        rows = []
        with torch.no_grad():
            for index in range(count):
                logits, along = self.tangents(self.vectors[index])
                residual = logits.softmax(1) - nn.functional.one_hot(self.y, CLASSES)
                rows.append((residual * along).sum(1).double().cpu())
        return torch.stack(rows)


def measure(setting, options):
    cuda = options.device.startswith("cuda")

    def wait():
        if cuda:
            torch.cuda.synchronize()

    work = [
        ("gradient", setting.gradient),
        ("H v", lambda: setting.hessian(1)),
        ("H v, block of 8", lambda: setting.hessian(BLOCK)),
        ("G v", lambda: setting.gauss_newton(1)),
        ("G v, block of 8", lambda: setting.gauss_newton(BLOCK)),
        ("all <grad_i, v>", lambda: setting.slopes(1)),
        ("all <grad_i, v>, block of 8", lambda: setting.slopes(BLOCK)),
    ]
    times = [[] for _ in work]
    for round_ in range(options.rounds + 1):
        for (_, run), own in zip(work, times):
            wait()
            started = time.perf_counter()
            run()
            wait()
            if round_ > 0:
                own.append(1e3 * (time.perf_counter() - started))
    for (name, _), own in zip(work, times):
        print(f"{name:<28} {statistics.median(own):>10.3f} ms")


def flat(tensors):
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def check(setting):
    """Differences over the largest element; the network is piecewise smooth, and the step small."""
    vector = setting.vectors[0]
    step, gradients = 1e-8, []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, v in zip(setting.theta, vector):
                parameter += sign * step * v
        gradients.append(flat(setting.gradient()))
        with torch.no_grad():
            for parameter, v in zip(setting.theta, vector):
                parameter -= sign * step * v
    expected = (gradients[0] - gradients[1]) / (2 * step)
    found = flat(setting.hessian(1)[0])
    print(f"H v against differences: {((found - expected).abs().max() / expected.abs().max()).item():.1e}")

    logits = setting.tail(setting.x)
    expected = torch.zeros_like(expected)
    along = flat(vector)
    for image in range(logits.shape[0]):
        rows = [flat(torch.autograd.grad(z, setting.theta, retain_graph=True)) for z in logits[image]]
        jacobian = torch.stack(rows)
        p = logits[image].detach().softmax(0)
        expected += jacobian.T @ ((torch.diag(p) - torch.outer(p, p)) @ (jacobian @ along))
    found = flat(setting.gauss_newton(1)[0])
    print(f"G v against Jacobians: {((found - expected).abs().max() / expected.abs().max()).item():.1e}")
    total = flat(setting.gradient()) @ along
    print(f"sum of <grad_i, v> against <gradient, v>: {abs(setting.slopes(1).sum().item() / total.item() - 1):.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--architecture", default="cifar-resnet18")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--precision", choices=["f32", "f64"], default="f32")
    parser.add_argument("--check", action="store_true", help="compare instead of timing, in double precision")
    options = parser.parse_args()
    if options.check:
        return check(Setting(options, torch.float64))
    torch.backends.cudnn.benchmark = True
    dtype = torch.float64 if options.precision == "f64" else torch.float32
    setting = Setting(options, dtype)
    for tf32 in (False, True):
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        print(
            f"{options.architecture} on {options.device}, {options.blocks} blocks and the head "
            f"({setting.size} parameters), {options.batch} images, {options.precision}, tf32 {str(tf32).lower()}, "
            f"torch {torch.__version__}"
        )
        measure(setting, options)
        if not options.device.startswith("cuda"):
            break


if __name__ == "__main__":
    main()
