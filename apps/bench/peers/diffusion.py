"""Sampling by DDIM on the straight path x = (1 - t) x0 + t eps with a perceptron or a U-Net, and its training, in eager PyTorch."""

import math

import torch
import torch.nn.functional as F


def mlp_sampling(arrays, settings):
    count, steps, half = settings["layers"], settings["steps"], settings["embedding"] // 2
    weights = [(torch.from_numpy(arrays[f"w{i}"]), torch.from_numpy(arrays[f"b{i}"])) for i in range(count)]
    start = torch.from_numpy(arrays["x"])
    frequencies = 1000 * torch.exp(-math.log(10_000) * torch.arange(half) / half)
    times = [0.99 + (0.01 - 0.99) * i / steps for i in range(steps + 1)]
    (first, first_bias), *others = weights

    def noise(x, t):
        # One time for all rows, as on the other side.
        angles = t * frequencies
        features = torch.cat([torch.sin(angles), torch.cos(angles)])
        h = torch.addmm(features @ first[2:] + first_bias, x, first[:2])
        for kernel, bias in others:
            h = torch.addmm(bias, torch.nn.functional.silu(h), kernel)
        return h

    @torch.no_grad()
    def step():
        x = start
        for t, s in zip(times, times[1:]):
            eps = noise(x, t)
            x0 = (x - t * eps) / (1 - t)
            x = (1 - s) * x0 + s * eps
        return (x**2).mean()

    return step


class UNet:
    """Two resolutions, one block each way a level, attention at the lower one and in the middle."""

    def __init__(self, arrays, settings):
        self.channels, self.groups = settings["channels"], settings["groups"]
        self.params = {
            name[len("params/") :]: torch.from_numpy(value.transpose(3, 2, 0, 1).copy() if value.ndim == 4 else value)
            for name, value in arrays.items()
            if name.startswith("params/")
        }
        half = self.channels // 2
        self.frequencies = 1000 * torch.exp(-math.log(10_000) * torch.arange(half) / half)

    def dense(self, name, x):
        return x @ self.params[f"{name}/kernel"] + self.params[f"{name}/bias"]

    def conv(self, name, x, stride=1):
        kernel, bias = self.params[f"{name}/kernel"], self.params[f"{name}/bias"]
        if stride == 2:
            # Sizes are even: the odd rest of the padding is at the end.
            return F.conv2d(F.pad(x, (0, 1, 0, 1)), kernel, bias, stride=2)
        return F.conv2d(x, kernel, bias, padding=kernel.shape[2] // 2)

    def norm(self, name, x):
        return F.group_norm(x, self.groups, self.params[f"{name}/scale"], self.params[f"{name}/offset"])

    def residual(self, name, x, embedded):
        h = self.conv(f"{name}/conv1", F.silu(self.norm(f"{name}/norm1", x)))
        h = h + self.dense(f"{name}/time", F.silu(embedded))[:, :, None, None]
        h = self.conv(f"{name}/conv2", F.silu(self.norm(f"{name}/norm2", h)))
        return h + (self.conv(f"{name}/shortcut", x) if f"{name}/shortcut/kernel" in self.params else x)

    def attention(self, name, x):
        tokens = self.norm(f"{name}/norm", x).flatten(2).transpose(1, 2)
        query, key, value = (self.dense(f"{name}/attention/{part}", tokens) for part in ("query", "key", "value"))
        weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(query.shape[2]), 2)
        return x + self.dense(f"{name}/attention/output", weights @ value).transpose(1, 2).reshape(x.shape)

    def block(self, name, x, embedded):
        h = self.residual(f"{name}/residual", x, embedded)
        return self.attention(f"{name}/attention", h) if f"{name}/attention/norm/scale" in self.params else h

    def __call__(self, x, time):
        angles = time[:, None] * self.frequencies
        embedded = self.dense("time/first", torch.cat([torch.sin(angles), torch.cos(angles)], 1))
        embedded = self.dense("time/second", F.silu(embedded))
        stem = self.conv("stem", x)
        upper = self.block("down/0/blocks/0", stem, embedded)
        down = self.conv("down/0/resample", upper, 2)
        lower = self.block("down/1/blocks/0", down, embedded)
        h = self.residual("middle/first", lower, embedded)
        h = self.residual("middle/second", self.attention("middle/attention", h), embedded)
        h = self.block("up/0/blocks/0", torch.cat([h, lower], 1), embedded)
        h = self.block("up/0/blocks/1", torch.cat([h, down], 1), embedded)
        h = self.conv("up/0/resample", F.interpolate(h, scale_factor=2))
        h = self.block("up/1/blocks/0", torch.cat([h, upper], 1), embedded)
        h = self.block("up/1/blocks/1", torch.cat([h, stem], 1), embedded)
        return self.conv("output/conv", F.silu(self.norm("output/norm", h)))


def channels_first(array):
    return torch.from_numpy(array.transpose(0, 3, 1, 2).copy())


def unet_step(arrays, settings):
    network = UNet(arrays, settings)
    x, eps, time = channels_first(arrays["x"]), channels_first(arrays["eps"]), torch.from_numpy(arrays["time"])
    parameters = [parameter.requires_grad_() for parameter in network.params.values()]
    optimizer = torch.optim.Adam(parameters, lr=settings["learningRate"])
    share = time[:, None, None, None]

    def step():
        optimizer.zero_grad()
        loss = ((network((1 - share) * x + share * eps, time) - (eps - x)) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def unet_sampling(arrays, settings):
    network, steps = UNet(arrays, settings), settings["steps"]
    start = channels_first(arrays["eps"])
    times = [0.99 + (0.01 - 0.99) * i / steps for i in range(steps + 1)]

    @torch.no_grad()
    def step():
        x = start
        for t, s in zip(times, times[1:]):
            velocity = network(x, torch.tensor([t]))
            # x0 = x - t u, eps = x + (1 - t) u
            x = (1 - s) * (x - t * velocity) + s * (x + (1 - t) * velocity)
        return (x**2).mean()

    return step


def time_shift(arrays, settings):
    """Time-shift DDIM (algorithm 3) with the exact, biased noise of a Gaussian, over DDPM's schedule."""
    axes, spectrum = torch.from_numpy(arrays["axes"]), torch.from_numpy(arrays["spectrum"])
    start = torch.from_numpy(arrays["x"])
    steps, total, half, cutoff = settings["steps"], settings["indices"], settings["window"] // 2, settings["cutoff"]
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, total, dtype=torch.float64), 0)
    # Row k is index k - 1: row 0 is clean data.
    table = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar]).float()
    nominal = [total - 1 - (i * total) // steps for i in range(steps)] + [-1]

    def noise(x, a):
        rotated = x @ axes
        return (1 + settings["kappa"]) * ((1 - a).sqrt() * rotated / (a * spectrum + 1 - a)) @ axes.T

    @torch.no_grad()
    def step():
        x = start
        index = torch.full((len(x),), nominal[0])
        for m in nominal[1:]:
            a, b = table[index + 1][:, None], table[m + 1]
            eps = noise(x, a)
            x = b.sqrt() * (x - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b).sqrt() * eps
            if m > cutoff:
                low = max(0, m - half)
                candidates = 1 - table[low + 1 : min(total - 1, m + half) + 2]
                index = low + ((x.var(1)[:, None] - candidates) ** 2).argmin(1)
            else:
                index = torch.full((len(x),), m)
        return (x**2).mean()

    return step
