"""Steps of target projection SGD (arXiv 2208.08503), in eager PyTorch: written by hand, without automatic differentiation, which is its fastest form."""

import numpy as np
import torch
import torch.nn.functional as F


def arrays_of(arrays, settings):
    state = {name[5:]: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items() if name.startswith("state/")}
    return state, torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()


def train_output(kernel, bias, h, y, rate):
    """Softmax regression on h; returns its loss before the update."""
    n = h.shape[0]
    log_probs = torch.log_softmax(torch.addmm(bias, h, kernel), 1)
    loss = F.nll_loss(log_probs, y)
    error = log_probs.exp()
    error[torch.arange(n), y] -= 1
    kernel.addmm_(h.t(), error, alpha=-rate / n)
    bias.sub_(error.sum(0), alpha=rate / n)
    return loss


def local_error(a, t):
    """Squared error summed over units, mean over the batch, and its slope before tanh times n/2."""
    r = a - t
    return (r * r).sum() / a.shape[0], r * (1 - a * a)


def dense(arrays, settings):
    state, x, y = arrays_of(arrays, settings)
    layers = [[state[f"/layers/{i}/{name}"] for name in ("params/kernel", "params/bias", "projection")] for i in range(settings["layers"])]
    kernel_out, bias_out = state["/output/params/kernel"], state["/output/params/bias"]
    rate = 2 * settings["learningRate"] / settings["batch"]

    @torch.no_grad()
    def step():
        a, total = x, 0.0
        for kernel, bias, projection in layers:
            above = torch.tanh(torch.addmm(bias, a, kernel))
            loss, e = local_error(above, projection[y])
            kernel.addmm_(a.t(), e, alpha=-rate)
            bias.sub_(e.sum(0), alpha=rate)
            a, total = above, total + loss
        return total + train_output(kernel_out, bias_out, a, y, settings["outputLearningRate"])

    return step


def recurrent(arrays, settings):
    state, x, y = arrays_of(arrays, settings)
    cell = "/cells/0/params"
    w, u, b = (state[f"{cell}/{name}"] for name in ("inputKernel", "recurrentKernel", "bias"))
    projection = state["/cells/0/projection"]
    kernel_out, bias_out = state["/output/params/kernel"], state["/output/params/bias"]
    rate = 2 * settings["learningRate"] / settings["batch"]

    @torch.no_grad()
    def step():
        h = torch.zeros(settings["batch"], settings["units"])
        for t in range(settings["steps"]):
            before, h = h, torch.tanh(torch.addmm(b, x[:, t], w).addmm_(h, u))
        loss, e = local_error(h, projection[y])
        w.addmm_(x[:, -1].t(), e, alpha=-rate)
        u.addmm_(before.t(), e, alpha=-rate)
        b.sub_(e.sum(0), alpha=rate)
        return loss + train_output(kernel_out, bias_out, h, y, settings["outputLearningRate"])

    return step


def convolution(arrays, settings):
    state, x, y = arrays_of(arrays, settings)
    x = x.permute(0, 3, 1, 2).contiguous()
    kernel = state["/layers/0/params/kernel"].permute(3, 2, 0, 1).contiguous()
    bias, projection = state["/layers/0/params/bias"], state["/layers/0/projection"]
    kernel_out, bias_out = state["/output/params/kernel"], state["/output/params/bias"]
    height, width = x.shape[2:]
    channels = kernel.shape[0]
    # Targets are in our layout, channels last.
    maps = projection.reshape(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()
    padding = kernel.shape[2] // 2
    rate = 2 * settings["learningRate"] / settings["batch"]
    kernel.requires_grad_()

    def step():
        z = F.conv2d(x, kernel, bias, padding=padding)
        a = torch.tanh(z.detach())
        with torch.no_grad():
            loss, e = local_error(a, maps[y])
        (gradient,) = torch.autograd.grad(z, kernel, e)
        with torch.no_grad():
            kernel.sub_(gradient, alpha=rate)
            bias.sub_(e.sum((0, 2, 3)), alpha=rate)
            h = F.avg_pool2d(a, 2).permute(0, 2, 3, 1).reshape(x.shape[0], -1)
            return loss + train_output(kernel_out, bias_out, h, y, settings["outputLearningRate"])

    return step
