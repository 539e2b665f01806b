"""Workloads in eager PyTorch."""

import numpy as np
import torch
import torch.nn.functional as F

import aug_local
import counter_current
import diffusion
import fewshot
import forward_only
import graphs
import h_calibration
import no_prop
import sltt
import target_projection

# Inputs −log p of the piecewise linear map; beyond, the last slope goes on.
MAP_RANGE = 100.0


def set_threads(count):
    torch.set_num_threads(count)


class HCalibrationLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, probs, labels, window, clusters):
        loss, gradient = h_calibration.loss_and_gradient(probs.detach().numpy(), labels, window, clusters)
        ctx.save_for_backward(torch.from_numpy(gradient.astype(np.float32)))
        return torch.tensor(loss, dtype=torch.float32)

    @staticmethod
    def backward(ctx, slope):
        return ctx.saved_tensors[0] * slope, None, None, None


def h_calibration_epoch(arrays, settings):
    logits = torch.from_numpy(arrays["logits"])
    count = settings["segments"]
    width = MAP_RANGE / count
    slopes = torch.from_numpy(arrays["slopes"]).requires_grad_()
    optimizer = torch.optim.Adam([slopes], lr=settings["learningRate"])
    labels, window, clusters = arrays["labels"], settings["window"], settings["clusters"]

    def step():
        optimizer.zero_grad()
        x = -torch.log_softmax(logits, 1)
        segment = (x / width).long().clamp(max=count - 1)
        steep = slopes.abs()
        knots = (torch.cumsum(steep, 0) - steep) * width
        probs = torch.softmax(-(knots[segment] + steep[segment] * (x - segment * width)), 1)
        loss = HCalibrationLoss.apply(probs, labels, window, clusters)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def mlp_step(arrays, settings):
    x = torch.from_numpy(arrays["x"])
    y = torch.from_numpy(arrays["y"]).long()
    params = [torch.from_numpy(arrays[name]).requires_grad_() for name in ("w1", "b1", "w2", "b2")]
    w1, b1, w2, b2 = params
    optimizer = torch.optim.Adam(params, lr=settings["learningRate"])

    def step():
        optimizer.zero_grad()
        logits = torch.relu(x @ w1 + b1) @ w2 + b2
        loss = torch.nn.functional.cross_entropy(logits, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def matmul(arrays, settings):
    a, b = torch.from_numpy(arrays["a"]), torch.from_numpy(arrays["b"])
    size = settings["size"]
    taken = 0

    def step():
        nonlocal taken
        c = a @ b
        row = taken % size
        taken += 1
        return c[row, row]

    return step


def parameter(array):
    return torch.from_numpy(np.ascontiguousarray(array)).requires_grad_()


def trainer(params, settings, loss_of):
    """A step of Adam on the loss that `loss_of` computes."""
    optimizer = torch.optim.Adam(params, lr=settings["learningRate"])

    def step(*batch):
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def perceptron(arrays, settings):
    """A training step of a perceptron; every second layer of ours is an activation."""
    names = [f"params/{2 * i}" for i in range(settings["layers"])]
    layers = [(parameter(arrays[f"{name}/kernel"]), parameter(arrays[f"{name}/bias"])) for name in names]

    def loss_of(x, y):
        for kernel, bias in layers[:-1]:
            x = torch.relu(torch.addmm(bias, x, kernel))
        kernel, bias = layers[-1]
        return F.cross_entropy(torch.addmm(bias, x, kernel), y)

    return trainer([tensor for layer in layers for tensor in layer], settings, loss_of)


def mlp(arrays, settings):
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()
    step = perceptron(arrays, settings)
    return lambda: step(x, y)


def mlp_epoch(arrays, settings):
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()
    one = perceptron(arrays, settings)

    def step():
        total = torch.zeros(())
        for i in range(settings["steps"]):
            total += one(x[i], y[i])
        return total / settings["steps"]

    return step


def gru(arrays, settings):
    recurrent = torch.nn.GRU(settings["inputs"], settings["units"])
    head = torch.nn.Linear(settings["units"], settings["classes"])
    ours = {
        recurrent.weight_ih_l0: arrays["params/cell/inputKernel"].T,
        recurrent.bias_ih_l0: arrays["params/cell/inputBias"],
        recurrent.weight_hh_l0: arrays["params/cell/recurrentKernel"].T,
        recurrent.bias_hh_l0: arrays["params/cell/recurrentBias"],
        head.weight: arrays["params/head/kernel"].T,
        head.bias: arrays["params/head/bias"],
    }
    copy_into(ours)
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"]).long()

    def loss_of():
        _, last = recurrent(x)
        return F.cross_entropy(head(last[0]), y)

    return trainer(list(ours), settings, loss_of)


def copy_into(values):
    with torch.no_grad():
        for tensor, array in values.items():
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def attention(arrays, settings):
    width = settings["width"]
    body = "params/0/body"
    norm1, norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
    attend = torch.nn.MultiheadAttention(width, settings["heads"], batch_first=True)
    up, down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)
    parts = [f"{body}/1/{name}" for name in ("query", "key", "value")]
    ours = {
        norm1.weight: arrays[f"{body}/0/scale"],
        norm1.bias: arrays[f"{body}/0/offset"],
        attend.in_proj_weight: np.concatenate([arrays[f"{part}/kernel"].T for part in parts]),
        attend.in_proj_bias: np.concatenate([arrays[f"{part}/bias"] for part in parts]),
        attend.out_proj.weight: arrays[f"{body}/1/output/kernel"].T,
        attend.out_proj.bias: arrays[f"{body}/1/output/bias"],
        norm2.weight: arrays["params/1/body/0/scale"],
        norm2.bias: arrays["params/1/body/0/offset"],
        up.weight: arrays["params/1/body/1/kernel"].T,
        up.bias: arrays["params/1/body/1/bias"],
        down.weight: arrays["params/1/body/3/kernel"].T,
        down.bias: arrays["params/1/body/3/bias"],
    }
    copy_into(ours)
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])

    def loss_of():
        normed = norm1(x)
        h = x + attend(normed, normed, normed, need_weights=False)[0]
        h = h + down(torch.relu(up(norm2(h))))
        return F.mse_loss(h, y)

    return trainer(list(ours), settings, loss_of)


class Images:
    """Layers of convolutional networks over our parameters, in PyTorch's layout (channels first)."""

    def __init__(self, arrays):
        self.arrays = arrays
        self.params = []
        self.x = torch.from_numpy(np.ascontiguousarray(arrays["x"].transpose(0, 3, 1, 2)))
        self.y = torch.from_numpy(arrays["y"]).long() if "y" in arrays else None

    def parameter(self, name, transpose=None):
        array = self.arrays[f"params/{name}"]
        tensor = parameter(array if transpose is None else array.transpose(transpose))
        self.params.append(tensor)
        return tensor

    def conv(self, name, stride=1, bias=True):
        kernel = self.parameter(f"{name}/kernel", (3, 2, 0, 1))
        offset = self.parameter(f"{name}/bias") if bias else None
        padding = kernel.shape[2] // 2
        return lambda x: F.conv2d(x, kernel, offset, stride=stride, padding=padding)

    def norm(self, name):
        scale, offset = self.parameter(f"{name}/scale"), self.parameter(f"{name}/offset")
        mean, variance = torch.zeros_like(scale), torch.ones_like(scale)
        return lambda x: F.batch_norm(x, mean, variance, scale, offset, training=True)

    def dense(self, name):
        kernel, bias = self.parameter(f"{name}/kernel"), self.parameter(f"{name}/bias")
        return lambda x: torch.addmm(bias, x, kernel)

    def trainer(self, settings, network):
        return trainer(self.params, settings, lambda: F.cross_entropy(network(self.x), self.y))


def convnet4(arrays, settings):
    images = Images(arrays)
    blocks = [(images.conv(4 * i), images.norm(4 * i + 1)) for i in range(4)]
    # After four blocks of four layers and the flattening.
    head = images.dense(17)

    def network(x):
        for conv, norm in blocks:
            x = F.max_pool2d(torch.relu(norm(conv(x))), 2)
        return head(x.flatten(1))

    return images.trainer(settings, network)


def episode_step(arrays, settings):
    images = Images(arrays)
    blocks = [(images.conv(4 * i), images.norm(4 * i + 1)) for i in range(4)]

    def loss_of():
        x = images.x
        for conv, norm in blocks:
            x = F.max_pool2d(torch.relu(norm(conv(x))), 2)
        return fewshot.episode_losses(x.flatten(1), settings["ways"], settings["shots"], settings["queries"])

    return trainer(images.params, settings, loss_of)


def resnet20(arrays, settings):
    images = Images(arrays)
    conv, norm = images.conv(0, bias=False), images.norm(1)

    def block(index, stride):
        body = f"{index}/body"
        conv1, norm1 = images.conv(f"{body}/0", stride, bias=False), images.norm(f"{body}/1")
        conv2, norm2 = images.conv(f"{body}/3", bias=False), images.norm(f"{body}/4")

        def apply(x):
            y = norm2(conv2(torch.relu(norm1(conv1(x)))))
            if stride > 1:
                more = (y.shape[1] - x.shape[1]) // 2
                x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, more, more))
            return torch.relu(x + y)

        return apply

    # Residual layers and their activations alternate after the first three layers.
    blocks = [block(3 + 2 * i, 2 if i in (3, 6) else 1) for i in range(9)]
    head = images.dense(22)

    def network(x):
        x = torch.relu(norm(conv(x)))
        for apply in blocks:
            x = apply(x)
        return head(x.mean((2, 3)))

    return images.trainer(settings, network)


def boosted_units(arrays, settings):
    x, target = torch.from_numpy(arrays["x"]).double(), torch.from_numpy(arrays["target"]).double()
    d, units, outputs, n = settings["features"], settings["units"], settings["outputs"], settings["rows"]
    sizes = [d * units, units, units * outputs, outputs]
    w1, b1, w2, b2 = torch.from_numpy(arrays["weights"]).double().split(sizes)
    params = [w.clone().requires_grad_() for w in (w1.reshape(units, d), b1, w2.reshape(units, outputs), b2)]
    optimizer = torch.optim.SGD(params, lr=settings["learningRate"])

    def step():
        optimizer.zero_grad()
        w1, b1, w2, b2 = params
        error = torch.sigmoid(x @ w1.T + b1) @ w2 + b2 - target
        penalty = (w1**2).sum() + (w2**2).sum()
        loss = (0.5 * (error**2).sum() + 0.5 * settings["alpha"] * penalty) / n
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


workloads = {
    "attention": attention,
    "aug-local": aug_local.aug_local,
    "boosted-units": boosted_units,
    "bound-updates": fewshot.bound_updates,
    "cascaded-forward": forward_only.cascaded_forward,
    "convnet4": convnet4,
    "episode-step": episode_step,
    "counter-current-convolutions": counter_current.counter_current_convolutions,
    "counter-current-step": counter_current.counter_current_step,
    "forward-gnn-step-10000": graphs.forward_gnn_step,
    "forward-gnn-step-100000": graphs.forward_gnn_step,
    "forward-gnn-step-1000000": graphs.forward_gnn_step,
    "forward-forward": forward_only.forward_forward,
    "gru": gru,
    "h-calibration-epoch": h_calibration_epoch,
    "matmul-1024": matmul,
    "matmul-256": matmul,
    "mlp-epoch": mlp_epoch,
    "mlp-large": mlp,
    "mlp-sampling": diffusion.mlp_sampling,
    "mlp-small": mlp,
    "mlp-step": mlp_step,
    "mono-forward": forward_only.mono_forward,
    "no-prop-inference": no_prop.no_prop_inference,
    "no-prop-step": no_prop.no_prop_step,
    "resnet20": resnet20,
    "sltt-step": sltt.sltt_step,
    "sparse-product-10000": graphs.sparse_product,
    "sparse-product-100000": graphs.sparse_product,
    "sparse-product-1000000": graphs.sparse_product,
    "target-projection": target_projection.dense,
    "target-projection-convolution": target_projection.convolution,
    "target-projection-recurrent": target_projection.recurrent,
    "teddy-step": graphs.teddy_step,
    "time-shift": diffusion.time_shift,
    "unet-sampling": diffusion.unet_sampling,
    "unet-step": diffusion.unet_step,
}
