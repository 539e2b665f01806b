"""Steps of counter-current learning in eager PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F


def kernels(arrays, settings, side):
    """Kernels by layer, in PyTorch's layout where they are convolutions."""
    found = [arrays[f"{side}{i}"] for i in range(settings["layers"])]
    turned = [kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel for kernel in found]
    return [torch.from_numpy(np.ascontiguousarray(kernel)).requires_grad_() for kernel in turned]


def rows(maps):
    """Our rows are channels last."""
    return maps.permute(0, 2, 3, 1).flatten(1) if maps.ndim == 4 else maps


def maps_of(rows_, shape):
    """The inverse of `rows`."""
    if len(shape) < 3:
        return rows_
    channels, height, width = shape
    return rows_.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def signals_of(feedback, shapes):
    """c_0 … c_L; `shapes` are those of one activation of each layer."""
    signals = [torch.eye(feedback[-1].shape[0])]
    for i in reversed(range(len(feedback))):
        c = signals[0].detach()
        if feedback[i].ndim == 4:
            z = F.conv2d(F.interpolate(c, scale_factor=2, mode="nearest"), feedback[i], padding=1)
        else:
            z = maps_of(c @ feedback[i], shapes[i])
        signals.insert(0, z if i == 0 else F.elu(z))
    return signals


def activations_of(forward, x):
    activations = [x]
    for i, kernel in enumerate(forward):
        a = activations[-1].detach()
        if kernel.ndim == 4:
            activations.append(F.max_pool2d(F.elu(F.conv2d(a, kernel, padding=1)), 2))
        else:
            z = rows(a) @ kernel
            activations.append(z if i == len(forward) - 1 else F.elu(z))
    return activations


def trainer(arrays, settings, x, pair_loss, prepare_gradients):
    forward, feedback = kernels(arrays, settings, "F"), kernels(arrays, settings, "B")
    y = torch.from_numpy(arrays["y"]).long()
    one_hot = F.one_hot(y, feedback[-1].shape[0]).float()
    rule = {"lr": settings["learningRate"], "momentum": settings.get("momentum", 0)}
    optimizers = [torch.optim.SGD(side, **rule) for side in (forward, feedback)]

    def step():
        for optimizer in optimizers:
            optimizer.zero_grad()
        activations = activations_of(forward, x)
        signals = signals_of(feedback, [a.shape[1:] for a in activations])
        loss = F.cross_entropy(activations[-1], y)
        for a, c in zip(activations[:-1], signals[:-1]):
            loss = loss + pair_loss(a.flatten(1), c.flatten(1), one_hot)
        loss.backward()
        for side, optimizer in zip((forward, feedback), optimizers):
            prepare_gradients(side)
            torch.nn.utils.clip_grad_norm_(side, settings["clip"])
            optimizer.step()
        return loss.detach()

    return step


def counter_current_step(arrays, settings):
    scale = 256 * settings["lambdaC"]

    def product(a, c, one_hot):
        return F.mse_loss(a @ c.T, one_hot) * (scale / a.shape[1])

    return trainer(arrays, settings, torch.from_numpy(arrays["x"]), product, lambda side: None)


def counter_current_convolutions(arrays, settings):
    x = torch.from_numpy(np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2)))

    def unit(rows):
        return rows / (rows.norm(dim=1, keepdim=True) + 1e-8)

    def normalised(a, c, one_hot):
        a, c = unit(a), unit(c)
        alike = F.mse_loss(a @ a.T, torch.eye(len(a))) + F.mse_loss(c @ c.T, torch.eye(len(c)))
        return settings["lambdaC"] * F.mse_loss(a @ c.T, one_hot) + settings["lambdaS"] * alike

    def centralise(side):
        for kernel in side:
            # Dense kernels are [in, out], convolutions [out, in, h, w].
            kernel.grad -= kernel.grad.mean(dim=0 if kernel.ndim == 2 else (1, 2, 3), keepdim=True)

    return trainer(arrays, settings, x, normalised, centralise)
