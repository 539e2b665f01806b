"""Writes torch.ts: what PyTorch's optimizers and schedules do. Run: python3 make_golden.py > torch.ts (made with torch 1.13)."""
import json
import torch

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
STEPS = 6
w0, b0 = torch.randn(3, 2), torch.randn(2)
grads = [(torch.randn(3, 2), torch.randn(2)) for _ in range(STEPS)]


def r(values):
    return [round(v, 9) for v in values.reshape(-1).tolist()]


def run(make, clip=None):
    w, b = w0.clone().requires_grad_(), b0.clone().requires_grad_()
    optimizer = make([w, b])
    history = []
    for gw, gb in grads:
        w.grad, b.grad = gw.clone(), gb.clone()
        if clip:
            torch.nn.utils.clip_grad_norm_([w, b], clip)
        optimizer.step()
        history.append(r(torch.cat([w.detach().reshape(-1), b.detach()])))
    return history


o = torch.optim
runs = {
    "sgd": run(lambda p: o.SGD(p, lr=0.1)),
    "sgdDecay": run(lambda p: o.SGD(p, lr=0.1, weight_decay=0.2)),
    "sgdMomentum": run(lambda p: o.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01)),
    "sgdNesterov": run(lambda p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
    "sgdClipped": run(lambda p: o.SGD(p, lr=0.1), clip=0.7),
    "adam": run(lambda p: o.Adam(p, lr=0.05)),
    "adamOptions": run(lambda p: o.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)),
    "adamw": run(lambda p: o.AdamW(p, lr=0.05)),
    "adamwDecay": run(lambda p: o.AdamW(p, lr=0.05, weight_decay=0.3)),
    "rmsprop": run(lambda p: o.RMSprop(p, lr=0.01)),
    "rmspropCentered": run(lambda p: o.RMSprop(p, lr=0.01, alpha=0.9, centered=True, momentum=0.5, weight_decay=0.1)),
}


def rates(make, steps=12):
    p = torch.zeros(1, requires_grad=True)
    optimizer = o.SGD([p], lr=0.5)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        p.grad = torch.zeros(1)
        optimizer.step()
        scheduler.step()
    return [round(v, 9) for v in found]


s = o.lr_scheduler
schedules = {
    "stepDecay": rates(lambda x: s.StepLR(x, 3, gamma=0.5)),
    "milestones": rates(lambda x: s.MultiStepLR(x, [2, 7], gamma=0.1)),
    "cosine": rates(lambda x: s.CosineAnnealingLR(x, 11, eta_min=0.05)),
    "polynomial": rates(lambda x: s.PolynomialLR(x, 8, power=2.0)),
    "warmUp": rates(lambda x: s.SequentialLR(x, [s.LinearLR(x, 0.2, 1.0, 4), s.StepLR(x, 3, gamma=0.5)], [4])),
}

out = {"params": {"w": r(w0), "b": r(b0)}, "grads": [{"w": r(a), "b": r(b)} for a, b in grads], "runs": runs, "schedules": schedules}
print("/** Made by make_golden.py with PyTorch 1.13 in float64; flat, row-major; runs hold [w, b] after each step. */")
print("export const torchOptim = " + json.dumps(out))
