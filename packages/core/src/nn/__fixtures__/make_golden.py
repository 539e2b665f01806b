"""Writes torch.ts: what PyTorch's layers compute, in our layout (NHWC, kernels [..., in, out]).
Run: python3 make_golden.py > torch.ts (made with torch 1.13)."""
import json
import torch
import torch.nn as nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def t(x, *order):
    x = x.detach()
    x = x.permute(*order) if order else x
    return {"shape": list(x.shape), "values": [round(v, 7) for v in x.reshape(-1).tolist()]}


def linear(weight, bias=None):
    return {"kernel": t(weight, 1, 0), **({"bias": t(bias)} if bias is not None else {})}


out = {}


def conv2d(name, x, **options):
    layer = nn.Conv2d(x.shape[1], **options)
    out[name] = {"x": t(x, 0, 2, 3, 1), "kernel": t(layer.weight, 2, 3, 1, 0), "bias": t(layer.bias), "y": t(layer(x), 0, 2, 3, 1)}


conv2d("conv2dStride", torch.randn(2, 3, 6, 5), out_channels=4, kernel_size=3, stride=2, padding=1)
conv2d("conv2dGroups", torch.randn(1, 4, 4, 4), out_channels=6, kernel_size=3, groups=2)
conv2d("conv2dDepthwise", torch.randn(1, 3, 4, 4), out_channels=6, kernel_size=3, groups=3, padding=1)
conv2d("conv2dDilated", torch.randn(1, 2, 6, 6), out_channels=2, kernel_size=3, dilation=2)

x = torch.randn(2, 3, 7)
layer = nn.Conv1d(3, 2, 3, dilation=2)
padded = torch.nn.functional.pad(x, (4, 0))
out["conv1dCausal"] = {"x": t(x, 0, 2, 1), "kernel": t(layer.weight, 2, 1, 0), "bias": t(layer.bias), "y": t(layer(padded), 0, 2, 1)}

x = torch.randn(1, 3, 3, 4)
layer = nn.ConvTranspose2d(3, 2, 3, stride=2)
out["conv2dTranspose"] = {"x": t(x, 0, 2, 3, 1), "kernel": t(layer.weight, 2, 3, 1, 0), "bias": t(layer.bias), "y": t(layer(x), 0, 2, 3, 1)}

x = torch.randn(2, 2, 5, 6)
out["maxPool"] = {"x": t(x, 0, 2, 3, 1), "y": t(nn.MaxPool2d(3, 2, 1)(x), 0, 2, 3, 1)}
out["avgPool"] = {"x": t(x, 0, 2, 3, 1), "y": t(nn.AvgPool2d(2)(x), 0, 2, 3, 1)}

layer = nn.BatchNorm2d(3, momentum=0.2)
nn.init.normal_(layer.weight)
nn.init.normal_(layer.bias)
xs = [torch.randn(4, 3, 2, 2) * 2 + 1 for _ in range(2)]
ys = [layer(x) for x in xs]
layer.eval()
out["batchNorm"] = {
    "scale": t(layer.weight), "offset": t(layer.bias), "x": [t(x, 0, 2, 3, 1) for x in xs], "y": [t(y, 0, 2, 3, 1) for y in ys],
    "mean": t(layer.running_mean), "variance": t(layer.running_var), "evaluated": t(layer(xs[0]), 0, 2, 3, 1),
}

x = torch.randn(2, 4, 2, 3)
layer = nn.GroupNorm(2, 4)
nn.init.normal_(layer.weight)
nn.init.normal_(layer.bias)
out["groupNorm"] = {"x": t(x, 0, 2, 3, 1), "scale": t(layer.weight), "offset": t(layer.bias), "y": t(layer(x), 0, 2, 3, 1)}
x = torch.randn(2, 3, 4)
layer = nn.LayerNorm(4)
nn.init.normal_(layer.weight)
nn.init.normal_(layer.bias)
out["layerNorm"] = {"x": t(x), "scale": t(layer.weight), "offset": t(layer.bias), "y": t(layer(x))}

for name, module, gates in (("gru", nn.GRU, 3), ("lstm", nn.LSTM, 4)):
    x = torch.randn(2, 4, 3)
    layer = module(3, 2, batch_first=True)
    y, last = layer(x)
    out[name] = {
        "x": t(x), "inputKernel": t(layer.weight_ih_l0, 1, 0), "inputBias": t(layer.bias_ih_l0),
        "recurrentKernel": t(layer.weight_hh_l0, 1, 0), "recurrentBias": t(layer.bias_hh_l0), "y": t(y),
    }

query, context = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
layer = nn.MultiheadAttention(4, 2, batch_first=True)
nn.init.normal_(layer.in_proj_bias)
nn.init.normal_(layer.out_proj.bias)
names = ("query", "key", "value")
params = {n: linear(w, b) for n, w, b in zip(names, layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3))}
params["output"] = linear(layer.out_proj.weight, layer.out_proj.bias)
attend = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1]])
causal = torch.triu(torch.ones(3, 3), 1).bool()
out["attention"] = {
    "params": params, "query": t(query), "context": t(context), "attend": t(attend.double()),
    "self": t(layer(query, query, query)[0]),
    "causal": t(layer(query, query, query, attn_mask=causal)[0]),
    "cross": t(layer(query, context, context)[0]),
    "masked": t(layer(query, context, context, key_padding_mask=attend == 0)[0]),
}


class Block(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.project = None
        if stride != 1 or inputs != channels:
            self.project = nn.Sequential(nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        h = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(h + (self.project(x) if self.project else x))


def norm_leaves(norm):
    return [t(norm.bias), t(norm.weight)]


def kernel(conv):
    return t(conv.weight, 2, 3, 1, 0)


def block_leaves(block):
    found = [kernel(block.conv1), *norm_leaves(block.norm1), kernel(block.conv2), *norm_leaves(block.norm2)]
    return found + ([kernel(block.project[0]), *norm_leaves(block.project[1])] if block.project else [])


width = 2
stem, stem_norm = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
blocks = [Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)]
head = nn.Linear(4 * width, 3)
model = nn.Sequential(stem, stem_norm, nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
x, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
# In the order of our tree: lists by index, records by sorted name.
params = [kernel(stem), *norm_leaves(stem_norm), *(leaf for block in blocks for leaf in block_leaves(block)), t(head.bias), linear(head.weight)["kernel"]]
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-2)
losses = []
for _ in range(5):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.step()
    losses.append(round(loss.item(), 7))
model.eval()
out["resnetTraining"] = {"x": t(x, 0, 2, 3, 1), "labels": labels.tolist(), "params": params, "losses": losses, "logits": t(model(x))}

print("/** Made by make_golden.py with PyTorch 1.13 in float64, in our layout: NHWC, kernels [..., in, out]. */")
print("export const torchLayers = " + json.dumps(out))
