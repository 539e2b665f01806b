"""Steps of Forward-Forward, Mono-Forward and Cascaded Forward in eager PyTorch, as their authors' code takes them."""

import numpy as np
import torch
import torch.nn.functional as F


def parameter(array):
    return torch.from_numpy(np.ascontiguousarray(array)).requires_grad_()


def one_hot(labels, classes):
    return F.one_hot(torch.from_numpy(labels).long(), classes).float()


def forward_forward(arrays, settings):
    x, classes = torch.from_numpy(arrays["x"]), settings["classes"]
    positive, negative = one_hot(arrays["y"], classes), one_hot(arrays["negative"], classes)
    kernels = [arrays[f"params/layers/{i}/kernel"] for i in range(settings["layers"])]
    kernels[0] = np.concatenate([arrays["params/label"], kernels[0]])
    layers = [(parameter(kernel), parameter(arrays[f"params/layers/{i}/bias"])) for i, kernel in enumerate(kernels)]
    params = [tensor for layer in layers for tensor in layer]
    optimizer = torch.optim.AdamW(params, lr=settings["learningRate"], weight_decay=settings["weightDecay"])
    target = torch.cat([torch.ones(len(x)), torch.zeros(len(x))])

    def normalised(h):
        return h / (h.pow(2).mean(1, keepdim=True).sqrt() + 1e-8)

    def step():
        optimizer.zero_grad()
        pixels = x[:, classes:]
        z = torch.cat([torch.cat([positive, pixels], 1), torch.cat([negative, pixels], 1)])
        loss = 0
        for kernel, bias in layers:
            h = torch.relu(torch.addmm(bias, normalised(z.detach()), kernel))
            loss = loss + F.binary_cross_entropy_with_logits(h.pow(2).sum(1) - h.shape[1], target)
            z = h
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def mono_forward(arrays, settings):
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()
    names = ("kernel", "bias", "projection")
    layers = [[parameter(arrays[f"layers/{i}/{name}"]) for name in names] for i in range(settings["layers"])]
    optimizers = [torch.optim.Adam(layer, lr=settings["learningRate"]) for layer in layers]

    def step():
        a, total = x, 0
        for (kernel, bias, projection), optimizer in zip(layers, optimizers):
            optimizer.zero_grad()
            a = torch.relu(torch.addmm(bias, a, kernel))
            loss = F.cross_entropy(a @ projection, y)
            loss.backward()
            optimizer.step()
            a, total = a.detach(), total + loss.detach()
        return total

    return step


def cascaded_forward(arrays, settings):
    x = torch.from_numpy(np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2)))
    y = torch.from_numpy(arrays["y"]).long()
    target = one_hot(arrays["y"], settings["classes"])

    def block(index):
        name = f"weights/blocks/{index}"
        kernel = parameter(arrays[f"{name}/0/kernel"].transpose(3, 2, 0, 1))
        rest = [parameter(arrays[f"{name}/{part}"]) for part in ("0/bias", "3/scale", "3/offset")]
        return kernel, *rest

    blocks = [block(index) for index in range(settings["blocks"])]
    running = [(torch.zeros_like(scale), torch.ones_like(scale)) for _, _, scale, _ in blocks]
    head = [parameter(arrays[f"weights/head/{name}"]) for name in ("kernel", "bias")]
    feedback = [torch.from_numpy(arrays[f"feedback/{index}"]) for index in range(settings["blocks"] - 1)]
    params = [tensor for block in blocks for tensor in block] + head
    optimizer = torch.optim.Adam(params, lr=settings["learningRate"])

    def rows(f):
        return f.permute(0, 2, 3, 1).flatten(1)

    def step():
        optimizer.zero_grad()
        f, features = x, []
        for (kernel, bias, scale, offset), (mean, variance) in zip(blocks, running):
            f = F.max_pool2d(torch.relu(F.conv2d(f.detach(), kernel, bias, padding=1)), 2)
            f = F.batch_norm(f, mean, variance, scale, offset, training=True)
            features.append(rows(f))
        logits = torch.addmm(head[1], features[-1], head[0])
        loss = F.cross_entropy(logits, y)
        error = ((torch.softmax(logits, 1) - target) / len(target)).detach()
        torch.autograd.backward([loss, *features[:-1]], [None, *(error @ b for b in feedback)])
        optimizer.step()
        return loss.detach()

    return step
