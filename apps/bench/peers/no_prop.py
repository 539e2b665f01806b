"""NoProp in eager PyTorch: a step of all blocks at once, and inference of the continuous variant."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def parameter(array):
    return torch.from_numpy(np.ascontiguousarray(array)).requires_grad_()


def cosine_schedule(steps, offset=0.008, low=1e-3, high=0.99):
    def squared(time):
        return math.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2

    return [min(max(squared(1 - t / steps) / squared(0), low), high) for t in range(steps + 1)]


def no_prop_step(arrays, settings):
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()
    block_noise, end_noise = torch.from_numpy(arrays["blockNoise"]), torch.from_numpy(arrays["endNoise"])
    steps, eta, classes = settings["steps"], settings["eta"], settings["classes"]
    encoder, denoiser = "blocks/0/encoder", "blocks/0/denoiser"
    # The blocks' weights are stacked: [blocks, inputs, outputs], biases [blocks, 1, outputs].
    names = ("x/0/kernel", "x/0/bias", "join/kernel", "join/bias"), ("z/0/kernel", "z/0/bias", "join/z", "output/kernel", "output/bias")
    params = [parameter(arrays[f"{encoder}/{name}"]) for name in names[0]]
    params += [parameter(arrays[f"{denoiser}/{name}"]) for name in names[1]]
    x_kernel, x_bias, join_x, join_bias, z_kernel, z_bias, join_z, out_kernel, out_bias = params
    head_kernel, head_bias = (parameter(arrays[f"readout/0/{name}"]) for name in ("kernel", "bias"))
    decay = settings["weightDecay"]
    optimizer = torch.optim.AdamW([*params, head_kernel, head_bias], lr=settings["learningRate"], weight_decay=decay)
    alpha_bar = cosine_schedule(steps)
    snr = [a / (1 - a) for a in alpha_bar]
    weights = torch.tensor([0.5 * steps * eta * (snr[t + 1] - snr[t]) for t in range(steps)])
    signal = torch.tensor([math.sqrt(a) for a in alpha_bar[:-1]]).reshape(-1, 1, 1)
    spread = torch.tensor([math.sqrt(1 - a) for a in alpha_bar[:-1]]).reshape(-1, 1, 1)
    start, end = alpha_bar[0], alpha_bar[-1]
    rows = x.expand(steps, *x.shape)

    def step():
        optimizer.zero_grad()
        u = F.one_hot(y, classes).float()
        z = signal * u + spread * block_noise
        from_x = torch.baddbmm(join_bias, torch.relu(torch.baddbmm(x_bias, rows, x_kernel)), join_x)
        from_z = torch.relu(torch.baddbmm(z_bias, z, z_kernel)) @ join_z
        logits = torch.baddbmm(out_bias, torch.relu(from_x + from_z), out_kernel)
        distance = (torch.softmax(logits, -1) - u).square().sum(-1).mean(-1)
        z_end = math.sqrt(end) * u + math.sqrt(1 - end) * end_noise
        cross_entropy = F.cross_entropy(torch.addmm(head_bias, z_end, head_kernel), y)
        kl = 0.5 * (start * (u.square().sum(1).mean() - classes) - classes * math.log1p(-start))
        loss = (weights * distance).sum() + cross_entropy + kl
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def no_prop_inference(arrays, settings):
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()
    start, steps = torch.from_numpy(arrays["start"]), settings["steps"]
    weights = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    encoder, denoiser = "blocks/0/encoder", "blocks/0/denoiser"

    def affine(name, h):
        return torch.addmm(weights[f"{name}/bias"], h, weights[f"{name}/kernel"])

    gamma = [-7 + 14 * i / steps for i in range(steps + 1)]
    alpha_bar = [1 / (1 + math.exp(-g)) for g in gamma]
    frequencies = 1000 * 10000 ** (-torch.arange(32) / 32)

    @torch.no_grad()
    def step():
        encoded = affine(f"{encoder}/join", torch.relu(affine(f"{encoder}/x/0", x)))
        angles = torch.arange(steps)[:, None] / steps * frequencies
        times = torch.relu(affine(f"{denoiser}/time/0", torch.cat([angles.sin(), angles.cos()], 1)))
        times = times @ weights[f"{denoiser}/join/time/0"]
        z = start
        for i in range(steps):
            before, now = alpha_bar[i], alpha_bar[i + 1]
            share = 1 - before / now
            joined = torch.addmm(times[i], torch.relu(affine(f"{denoiser}/z/0", z)), weights[f"{denoiser}/join/z"])
            logits = affine(f"{denoiser}/output", torch.relu(joined + encoded))
            a = math.sqrt(now) * share / (1 - before)
            b = math.sqrt(before / now) * (1 - now) / (1 - before)
            z = a * torch.softmax(logits, 1) + b * z
        head = torch.addmm(weights["readout/0/bias"], z, weights["readout/0/kernel"])
        return torch.softmax(head, 1).gather(1, y[:, None]).mean()

    return step
