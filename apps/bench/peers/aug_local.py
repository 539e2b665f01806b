"""A step of AugLocal (arXiv 2402.17318) on residual blocks, in eager PyTorch: every layer's loss goes backward before the next layer runs."""

import numpy as np
import torch
import torch.nn.functional as F


def aug_local(arrays, settings):
    params = []

    def parameter(name, transpose=None):
        array = arrays[f"params/{name}"]
        array = array if transpose is None else array.transpose(transpose)
        tensor = torch.from_numpy(np.ascontiguousarray(array)).requires_grad_()
        params.append(tensor)
        return tensor

    def norm(name):
        scale, offset = parameter(f"{name}/scale"), parameter(f"{name}/offset")
        mean, variance = torch.zeros_like(scale), torch.ones_like(scale)
        return lambda x: F.batch_norm(x, mean, variance, scale, offset, training=True)

    def conv_norm(conv_name, norm_name, stride=1):
        kernel = parameter(f"{conv_name}/kernel", (3, 2, 0, 1))
        normalise = norm(norm_name)
        return lambda x: normalise(F.conv2d(x, kernel, stride=stride, padding=kernel.shape[2] // 2))

    def block(name, stride):
        first = conv_norm(f"{name}/body/0", f"{name}/body/1", stride)
        second = conv_norm(f"{name}/body/3", f"{name}/body/4")
        projects = f"params/{name}/shortcut/0/kernel" in arrays
        shortcut = conv_norm(f"{name}/shortcut/0", f"{name}/shortcut/1", stride) if projects else lambda x: x
        return lambda x: torch.relu(second(torch.relu(first(x))) + shortcut(x))

    def dense(name):
        kernel, bias = parameter(f"{name}/kernel"), parameter(f"{name}/bias")
        return lambda x: torch.addmm(bias, x, kernel)

    def helper(module):
        strides = [stride for stride in arrays["strides"][module] if stride > 0]
        blocks = [block(f"{module}/helper/{i}", int(stride)) for i, stride in enumerate(strides)]
        top = len(strides) + 1
        has_norm = f"params/{module}/helper/{top}/scale" in arrays
        normalise = norm(f"{module}/helper/{top}") if has_norm else lambda x: x
        head = dense(f"{module}/helper/{top + 1 if has_norm else top}")

        def apply(x):
            for one in blocks:
                x = one(x)
            return head(normalise(x.mean((2, 3))))

        return apply

    count = settings["layers"]
    stem = conv_norm("0/layers/0/0", "0/layers/0/1")
    layers = [lambda x: torch.relu(stem(x))]
    for m in range(1, count):
        # A projection where the width grows, with a stride of 2.
        grows = f"params/{m}/layers/0/shortcut/0/kernel" in arrays
        layers.append(block(f"{m}/layers/0", 2 if grows else 1))
    helpers = [helper(m) for m in range(count - 1)]
    classifier = dense(f"{count - 1}/helper/1")
    helpers.append(lambda x: classifier(x.mean((2, 3))))
    optimizer = torch.optim.SGD(
        params, lr=settings["learningRate"], momentum=settings["momentum"], nesterov=True, weight_decay=settings["weightDecay"]
    )
    x = torch.from_numpy(np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2)))
    y = torch.from_numpy(arrays["y"]).long()

    def step():
        optimizer.zero_grad()
        h, total = x, 0.0
        for layer, head in zip(layers, helpers):
            h = layer(h)
            loss = F.cross_entropy(head(h), y)
            loss.backward()
            h = h.detach()
            total += loss.detach()
        optimizer.step()
        return total / count

    return step
