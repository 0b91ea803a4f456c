"""References with normalization, written from their formulas, for training and evaluation.

A stored vector contains a reference's output in evaluation, in float32. It does not cover batch statistics, and an eps
of 1e-6 is indistinguishable from one of 1e-5. Here each reference is a function of its weights under its own names,
with eps and momentum as in the authors' code, composed of convolutions, means and matrix products. It has to reproduce
the stored numbers in evaluation; then it serves as the reference for training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .mapping import Weights


class Net:
    """Weights under the reference's names, and the running statistics after a pass in training.

    Args:
        weights: Parameters and running statistics.
        training: Whether batch norms use the statistics of the batch.
    """

    def __init__(self, weights: Weights, *, training: bool) -> None:
        self.weights = weights
        self.training = training
        self.running: Weights = {}

    def __getitem__(self, name: str) -> Tensor:
        return self.weights[name]

    def conv(self, x: Tensor, name: str, *, padding: int | str = "same", stride: int = 1, dilation: int = 1) -> Tensor:
        """Convolve (B, C, H, W) or (B, C, N); groups by the weight's shape."""
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        function = F.conv1d if x.ndim == 3 else F.conv2d
        y: Tensor = function(x, weight, bias, stride, padding, dilation, x.shape[1] // weight.shape[1])
        return y

    def linear(self, x: Tensor, name: str) -> Tensor:
        """Multiply the last dimension by a matrix."""
        y, bias = x @ self.weights[f"{name}.weight"].t(), self.weights.get(f"{name}.bias")
        return y if bias is None else y + bias

    def batch_norm(self, x: Tensor, name: str, *, eps: float = 1e-5, momentum: float = 0.1) -> Tensor:
        """Normalize each channel, dimension 1, over all others."""
        others = [d for d in range(x.ndim) if d != 1]
        old = [self.weights[f"{name}.running_{kind}"] for kind in ("mean", "var")]
        if self.training:
            count = x.numel() // x.shape[1]
            mean = x.mean(others)
            var = (x - _channels(mean, x)).square().mean(others)
            new = (mean.detach(), var.detach() * count / (count - 1))
            for kind, before, now in zip(("mean", "var"), old, new, strict=True):
                self.running[f"{name}.running_{kind}"] = (1 - momentum) * before + momentum * now
        else:
            mean, var = old
        normed = (x - _channels(mean, x)) / (_channels(var, x) + eps).sqrt()
        return normed * _channels(self[f"{name}.weight"], x) + _channels(self[f"{name}.bias"], x)

    def group_norm(self, x: Tensor, name: str, groups: int, eps: float = 1e-5) -> Tensor:
        """Normalize the groups of channels of each image."""
        grouped = x.reshape(x.shape[0], groups, -1)
        mean = grouped.mean(2, keepdim=True)
        normed = (grouped - mean) / ((grouped - mean).square().mean(2, keepdim=True) + eps).sqrt()
        weight, bias = self[f"{name}.weight"].flatten(), self[f"{name}.bias"].flatten()
        return normed.reshape(x.shape) * _channels(weight, x) + _channels(bias, x)


def _channels(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 2))


def pooled(x: Tensor) -> Tensor:
    """Return the mean over the map, (B, C, 1, 1)."""
    return x.mean((2, 3), keepdim=True)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Return the channels of equal groups, interleaved."""
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


# --- channel ----------------------------------------------------------------------------------------------------------


def sk(net: Net, x: Tensor) -> Tensor:
    """Return SK with two grouped 3 x 3 branches, the second with dilation 2; batch norm in the bottleneck."""
    branches = [
        net.batch_norm(net.conv(x, f"convs.{n}.0", padding=n + 1, dilation=n + 1), f"convs.{n}.1").relu()
        for n in range(2)
    ]
    z = net.batch_norm(net.conv(pooled(branches[0] + branches[1]), "fc1.0"), "fc1.1").relu()
    a = net.conv(z, "fc2").reshape(len(x), 2, -1, 1, 1).softmax(1)
    return a[:, 0] * branches[0] + a[:, 1] * branches[1]


def sk_article(net: Net, x: Tensor) -> Tensor:
    """Return a third-party SK with four dense branches of 1, 3, 5 and 7; its bottleneck only has biases."""
    branches = torch.stack(
        [net.batch_norm(net.conv(x, f"convs.{n}.conv"), f"convs.{n}.bn").relu() for n in range(4)], 1
    )
    z = net.linear(branches.sum(1).mean((2, 3)), "fc")
    a = torch.stack([net.linear(z, f"fcs.{n}") for n in range(4)], 1).softmax(1)
    return (a[..., None, None] * branches).sum(1)


def parnet(net: Net, x: Tensor) -> Tensor:
    skip = net.batch_norm(x, "rbr_identity")
    skip = skip * net.conv(pooled(skip), "se.cvsig.conv").sigmoid()
    wide, narrow = (net.batch_norm(net.conv(x, f"{name}.conv"), f"{name}.bn") for name in ("rbr_dense", "rbr_1x1"))
    return F.silu(wide + narrow + skip)


def gather_excite(net: Net, x: Tensor) -> Tensor:
    """Return GE, which gathers by strided depthwise convolutions or by a single one as large as the map."""
    z = x
    if "gather.3.weight" in net.weights:
        z = net.batch_norm(net.conv(z, "gather.0", stride=2, padding=1), "gather.1").relu()
        z = net.batch_norm(net.conv(z, "gather.3", stride=2, padding=1), "gather.4")
    else:
        z = net.batch_norm(net.conv(z, "gather.0", padding=0), "gather.1")
    if "mlp.0.weight" in net.weights:
        z = net.conv(net.conv(z, "mlp.0").relu(), "mlp.2")
    return x * F.interpolate(z, x.shape[2:]).sigmoid()


def gather_excite_of_srm(net: Net, x: Tensor) -> Tensor:
    return x * net.batch_norm(net.conv(x, "conv.0", padding=0), "conv.1").sigmoid()


def srm(net: Net, x: Tensor) -> Tensor:
    flat = x.flatten(2)
    std = (flat.var(2) + 1e-5).sqrt()
    z = (torch.stack([flat.mean(2), std], 2) * net["cfc"]).sum(2)
    return x * net.batch_norm(z[..., None, None], "bn").sigmoid()


def nam(net: Net, x: Tensor) -> Tensor:
    share = net["bn2.weight"].abs() / net["bn2.weight"].abs().sum()
    return x * (share.view(-1, 1, 1) * net.batch_norm(x, "bn2")).sigmoid()


def gc(net: Net, x: Tensor) -> Tensor:
    weights = net.conv(x, "conv_mask").flatten(2).softmax(2)
    context = (x.flatten(2) * weights).sum(2)[..., None, None]
    hidden = net.group_norm(net.conv(context, "channel_add_conv.0"), "channel_add_conv.1", 1).relu()
    return x + net.conv(hidden, "channel_add_conv.3")


def description(net: Net, x: Tensor, name: str) -> Tensor:
    """Return one step of the description of SEAM."""
    u = x + net.batch_norm(F.gelu(net.conv(x, f"{name}.0.fn.0")), f"{name}.0.fn.2")
    return net.batch_norm(F.gelu(net.conv(u, f"{name}.1")), f"{name}.3")


def amplified(net: Net, x: Tensor, means: Tensor) -> Tensor:
    return x * net.linear(net.linear(means, "fc.0").relu(), "fc.2").sigmoid().exp()[..., None, None]


def seam(net: Net, x: Tensor) -> Tensor:
    d = x
    for n in range(2 if "DCovN.1.1.weight" in net.weights else 1):
        d = description(net, d, f"DCovN.{n}")
    return amplified(net, x, d.mean((2, 3)))


def multi_seam(net: Net, x: Tensor) -> Tensor:
    means = [x.mean((2, 3))]
    for n, patch in enumerate((3, 5, 7)):
        patches = F.gelu(net.conv(x, f"DCovN{n}.0", padding=0, stride=patch))
        patches = net.batch_norm(patches, f"DCovN{n}.2")
        means.append(description(net, patches, f"DCovN{n}.3").mean((2, 3)))
    return amplified(net, x, torch.stack(means).mean(0))


# --- spatial and hybrid -----------------------------------------------------------------------------------------------


def cbam_spatial(net: Net, x: Tensor, name: str = "spatial") -> Tensor:
    """Return the spatial gate of CBAM, whose norm has a momentum of 0.01."""
    two = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
    return x * net.batch_norm(net.conv(two, f"{name}.conv"), f"{name}.bn", momentum=0.01).sigmoid()


def cbam(net: Net, x: Tensor) -> Tensor:
    def perceptron(v: Tensor) -> Tensor:
        return net.linear(net.linear(v, "ChannelGate.mlp.1").relu(), "ChannelGate.mlp.3")

    channel = (perceptron(x.mean((2, 3))) + perceptron(x.amax((2, 3)))).sigmoid()
    return cbam_spatial(net, x * channel[..., None, None], "SpatialGate.spatial")


def triplet(net: Net, x: Tensor) -> Tensor:
    """Return the mean of the spatial gate of CBAM in three planes."""
    height = cbam_spatial(net, x.transpose(1, 2), "cw.conv").transpose(1, 2)
    width = cbam_spatial(net, x.transpose(1, 3), "hc.conv").transpose(1, 3)
    return (height + width + cbam_spatial(net, x, "hw.conv")) / 3


def bam(combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Net, Tensor], Tensor]:
    """Return BAM with its two branches combined by a product, as in the code, or by a sum, as in the paper."""

    def forward(net: Net, x: Tensor) -> Tensor:
        name = "channel_att.gate_c.gate_c"
        channel = net.batch_norm(net.linear(x.mean((2, 3)), f"{name}_fc_0"), f"{name}_bn_1").relu()
        channel = net.linear(channel, f"{name}_fc_final")[..., None, None]
        name, spatial = "spatial_att.gate_s.gate_s", x
        for step, dilation in (("reduce0", 1), ("di_0", 4), ("di_1", 4)):
            padding = dilation if step.startswith("di") else 0
            spatial = net.conv(spatial, f"{name}_conv_{step}", padding=padding, dilation=dilation)
            spatial = net.batch_norm(spatial, f"{name}_bn_{step}").relu()
        return x * (1 + combine(channel, net.conv(spatial, f"{name}_conv_final")).sigmoid())

    return forward


def coordinate(net: Net, x: Tensor) -> Tensor:
    lines = torch.cat([x.mean(3), x.mean(2)], 2)[..., None]
    z = net.batch_norm(net.conv(lines, "conv1"), "bn1")
    z = z * (z + 3).clamp(0, 6) / 6
    rows, columns = z.split([x.shape[2], x.shape[3]], 2)
    return x * net.conv(rows, "conv_h").sigmoid() * net.conv(columns, "conv_w").sigmoid().transpose(2, 3)


def gam(shuffle: int) -> Callable[[Net, Tensor], Tensor]:
    """Return a third-party GAM without a sigmoid on the channel map; its spatial map is shuffled."""

    def forward(net: Net, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        channel = net.linear(net.linear(rows, "channel_attention.0").relu(), "channel_attention.2")
        x = x * channel.permute(0, 3, 1, 2)
        y = net.batch_norm(net.conv(x, "spatial_attention.0", padding=3), "spatial_attention.1").relu()
        y = net.batch_norm(net.conv(y, "spatial_attention.3", padding=3), "spatial_attention.4").sigmoid()
        return x * shuffled(y, shuffle)

    return forward


def gam_replicate(net: Net, x: Tensor) -> Tensor:
    """Return a third-party GAM with replicate padding."""

    def wide(y: Tensor, n: int) -> Tensor:
        return net.batch_norm(net.conv(F.pad(y, [3] * 4, mode="replicate"), f"conv{n}", padding=0), f"norm{n}")

    x = x * net.linear(net.linear(x.permute(0, 2, 3, 1), "linear1").relu(), "linear2").permute(0, 3, 1, 2)
    return x * wide(wide(x, 1).relu(), 2).sigmoid()


def caa(net: Net, x: Tensor) -> Tensor:
    """Return CAA as built by mmcv, with eps 1e-3 and momentum 0.03."""

    def pointwise(y: Tensor, name: str) -> Tensor:
        return F.silu(net.batch_norm(net.conv(y, f"{name}.conv"), f"{name}.norm", eps=1e-3, momentum=0.03))

    y = pointwise(F.avg_pool2d(x, 7, 1, 3), "m.conv1")
    y = net.conv(net.conv(y, "m.h_conv.conv"), "m.v_conv.conv")
    return x * pointwise(y, "m.conv2").sigmoid()


def strip_pooling(net: Net, x: Tensor) -> Tensor:
    rows = net.batch_norm(net.conv(x.mean(3, keepdim=True), "m.conv1"), "m.bn1")
    columns = net.batch_norm(net.conv(x.mean(2, keepdim=True), "m.conv2"), "m.bn2")
    return x * net.conv((rows + columns).relu(), "m.conv3").sigmoid()


def mixed_pooling(net: Net, x: Tensor) -> Tensor:
    def step(y: Tensor, name: str) -> Tensor:
        return net.batch_norm(net.conv(y, f"{name}.0"), f"{name}.1")

    def coarse(y: Tensor, name: str, size: int) -> Tensor:
        pool = step(F.adaptive_avg_pool2d(y, size), name)
        return F.interpolate(pool, x.shape[2:], mode="bilinear", align_corners=True)

    grids, strips = step(x, "conv1_1").relu(), step(x, "conv1_2").relu()
    grids = (step(grids, "conv2_0") + coarse(grids, "conv2_1", 20) + coarse(grids, "conv2_2", 12)).relu()
    strips = (step(strips.mean(2, keepdim=True), "conv2_3") + step(strips.mean(3, keepdim=True), "conv2_4")).relu()
    both = torch.cat([step(grids, "conv2_5").relu(), step(strips, "conv2_6").relu()], 1)
    return (x + step(both, "conv3")).relu()


def nam_spatial(net: Net, x: Tensor) -> Tensor:
    share = net["bn.weight"].abs() / net["bn.weight"].abs().sum()
    positions = x.flatten(2).transpose(1, 2)  # (B, HW, C): the positions are the channels of the norm
    gate = (share[:, None] * net.batch_norm(positions, "bn")).sigmoid()
    return x * gate.transpose(1, 2).reshape(x.shape)


def residual_attention(pools: int) -> Callable[[Net, Tensor], Tensor]:
    """Return the module of a stage, an hourglass with this number of poolings."""

    def step(net: Net, x: Tensor, norm: str, conv: str) -> Tensor:
        return net.conv(net.batch_norm(x, norm).relu(), conv)

    def block(net: Net, x: Tensor, name: str) -> Tensor:
        y = x
        for n in (1, 2, 3):
            y = step(net, y, f"{name}.bn{n}", f"{name}.conv{n}")
        return x + y

    def up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True) + like

    def forward(net: Net, x: Tensor) -> Tensor:
        x = block(net, x, "first_residual_blocks")
        trunk = block(net, block(net, x, "trunk_branches.0"), "trunk_branches.1")
        levels, skips = [], []
        for n in range(1, pools + 1):
            x = F.max_pool2d(x, 3, 2, 1)
            for name in [f"softmax{n}_blocks"] if n < pools else [f"softmax{n}_blocks.0", f"softmax{n}_blocks.1"]:
                x = block(net, x, name)
            levels.append(x)
            if n < pools:
                skips.append(block(net, x, f"skip{n}_connection_residual_block"))
        for n in range(1, pools):
            x = block(net, up(x, levels[-1 - n]) + skips[-n], f"softmax{pools + n}_blocks")
        mask, y = f"softmax{2 * pools}_blocks", up(x, trunk)
        for n in (0, 3):
            y = step(net, y, f"{mask}.{n}", f"{mask}.{n + 2}")
        return block(net, (1 + y.sigmoid()) * trunk, "last_blocks")

    return forward


def shuffle_attention(net: Net, x: Tensor) -> Tensor:
    groups = x.unflatten(1, (8, -1)).flatten(0, 1)
    first, second = groups.chunk(2, 1)
    first = first * (net["cweight"] * pooled(first) + net["cbias"]).sigmoid()
    normed = net.group_norm(second, "gn", second.shape[1])
    second = second * (net["sweight"] * normed + net["sbias"]).sigmoid()
    return shuffled(torch.cat([first, second], 1).reshape(x.shape), 2)


def ela(groups: int) -> Callable[[Net, Tensor], Tensor]:
    """Return ELA whose group norm has this number of groups."""

    def forward(net: Net, x: Tensor) -> Tensor:
        rows, columns = (net.group_norm(net.conv(x.mean(d), "conv"), "gn", groups).sigmoid() for d in (3, 2))
        return x * rows[:, :, :, None] * columns[:, :, None]

    return forward


def ema(net: Net, x: Tensor) -> Tensor:
    g = x.unflatten(1, (32, -1)).flatten(0, 1)
    lines = net.conv(torch.cat([g.mean(3), g.mean(2)], 2)[..., None], "conv1x1").sigmoid()
    rows, columns = lines.split([x.shape[2], x.shape[3]], 2)
    one, two = net.group_norm(g * rows * columns.transpose(2, 3), "gn", g.shape[1]), net.conv(g, "conv3x3")
    gate = (pooled(one).softmax(1) * two + pooled(two).softmax(1) * one).sum(1, keepdim=True)
    return (g * gate.sigmoid()).reshape(x.shape)


def scsa(net: Net, x: Tensor) -> Tensor:
    convs = ("local_dwc", "global_dwc_s", "global_dwc_m", "global_dwc_l")

    def strip(line: Tensor, norm: str) -> Tensor:
        parts = [net.conv(part, conv) for part, conv in zip(line.chunk(4, 1), convs, strict=True)]
        return net.group_norm(torch.cat(parts, 1), norm, 4).sigmoid()

    x = x * strip(x.mean(3), "norm_h")[:, :, :, None] * strip(x.mean(2), "norm_w")[:, :, None]
    small = net.group_norm(F.avg_pool2d(x, 7), "norm", 1)
    q, k, v = (net.conv(small, name).flatten(2).unflatten(1, (8, -1)) for name in "qkv")
    y = (q @ k.transpose(2, 3) * q.shape[2] ** -0.5).softmax(3) @ v
    return x * y.mean(3).flatten(1)[..., None, None].sigmoid()


def polarized_s(net: Net, x: Tensor) -> Tensor:
    weights = net.conv(x, "conv_q_right").flatten(2).softmax(2)
    context = (net.conv(x, "conv_v_right").flatten(2) * weights).sum(2)[..., None, None]
    z = net.group_norm(net.conv(context, "conv_up.0"), "conv_up.1", 1).relu()
    x = x * net.conv(z, "conv_up.3").sigmoid()
    query = net.conv(x, "conv_q_left").mean((2, 3))[:, None]
    spatial = query @ net.conv(x, "conv_v_left").flatten(2).softmax(2)
    return x * spatial.reshape(len(x), 1, *x.shape[2:]).sigmoid()


# --- self-attention and mixers ----------------------------------------------------------------------------------------


def non_local(pairwise: str) -> Callable[[Net, Tensor], Tensor]:
    """Return the block for one pairwise function."""

    def forward(net: Net, x: Tensor) -> Tensor:
        g = F.max_pool2d(net.conv(x, "g.0"), 2).flatten(2).transpose(1, 2)
        embedded = pairwise != "gaussian"
        theta = (net.conv(x, "theta") if embedded else x).flatten(2).transpose(1, 2)
        phi = F.max_pool2d(net.conv(x, "phi.0") if embedded else x, 2).flatten(2)
        if pairwise == "concatenation":
            theta_weight, phi_weight = net["concat_project.0.weight"].flatten().chunk(2)
            weights = ((theta @ theta_weight)[:, :, None] + (phi_weight @ phi)[:, None]).relu() / phi.shape[2]
        else:
            weights = theta @ phi
            weights = weights / phi.shape[2] if pairwise == "dot_product" else weights.softmax(2)
        y = (weights @ g).transpose(1, 2).reshape(len(x), -1, *x.shape[2:])
        return x + net.batch_norm(net.conv(y, "W.0"), "W.1")

    return forward


def cot(net: Net, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    static = net.batch_norm(net.conv(x, "key_embed.0"), "key_embed.1").relu()
    hidden = net.batch_norm(net.conv(torch.cat([x, static], 1), "embed.0"), "embed.1").relu()
    weights = net.group_norm(net.conv(hidden, "embed.3"), "embed.4", c // 8).reshape(b, 1, c // 8, 9, h, w)
    value = net.batch_norm(net.conv(x, "conv1x1.0"), "conv1x1.1")
    around = F.unfold(value, 3, padding=1).reshape(b, 8, c // 8, 9, h, w)  # channel c has the weights of c mod C/8
    dynamic = F.silu(net.batch_norm((weights * around).sum(3).reshape(x.shape), "bn"))
    z = net.batch_norm(net.conv(pooled(dynamic + static), "se.0"), "se.1").relu()
    a = net.conv(z, "se.3").reshape(b, c, 2, 1, 1).softmax(2)
    return dynamic * a[:, :, 0] + static * a[:, :, 1]


def axial(net: Net, x: Tensor) -> Tensor:
    """Attend along columns, then rows; one norm for the three logits and one for the two interleaved outputs."""

    def lines(x: Tensor, name: str) -> Tensor:
        n, c, length = x.shape
        qkv = net.batch_norm(net.conv(x, f"{name}.qkv_transform"), f"{name}.bn_qkv").reshape(n, 8, c // 4, length)
        index = torch.arange(length)
        at = net[f"{name}.relative"][:, index[:, None] - index + length - 1]
        split = [c // 8 // 2, c // 8 // 2, c // 8]
        (q, k, v), (q_at, k_at, v_at) = qkv.split(split, 2), at.split(split, 0)
        logits = [
            torch.einsum("ngci,ngcj->ngij", q, k),
            torch.einsum("ngci,cij->ngij", q, q_at),
            torch.einsum("ngci,cij->ngji", k, k_at),
        ]
        logits = net.batch_norm(torch.cat(logits, 1), f"{name}.bn_similarity").reshape(n, 3, 8, length, length)
        a = logits.sum(1).softmax(3)
        content, position = torch.einsum("ngij,ngcj->ngci", a, v), torch.einsum("ngij,cij->ngci", a, v_at)
        both = torch.stack([content, position], 3).reshape(n, 2 * c, length)
        return net.batch_norm(both, f"{name}.bn_output").reshape(n, c, 2, length).sum(2)

    b, c, h, w = x.shape
    x = lines(x.permute(0, 3, 1, 2).reshape(-1, c, h), "0").reshape(b, w, c, h).permute(0, 2, 3, 1)
    return lines(x.permute(0, 2, 1, 3).reshape(-1, c, w), "1").reshape(b, h, c, w).permute(0, 2, 1, 3)


def irmb(net: Net, x: Tensor) -> Tensor:
    """Return iRMB: norms with an eps of 1e-6, one head of 32 channels, windows that cover the map as 7 x 7 grids."""
    u = net.batch_norm(x, "norm", eps=1e-6)
    rows, columns = (-(-size // 7) for size in x.shape[2:])
    u = F.pad(u, (0, 7 * columns - x.shape[3], 0, 7 * rows - x.shape[2]))
    q, k = net.conv(u, "qk.conv").chunk(2, 1)
    v = net.conv(u, "v.conv").relu()
    m = torch.zeros_like(v)
    for i in range(rows):
        for j in range(columns):
            query, key, value = (t[:, :, i::rows, j::columns].flatten(2) for t in (q, k, v))
            weights = (query.transpose(1, 2) @ key * 32**-0.5).softmax(2)
            m[:, :, i::rows, j::columns] = (value @ weights.transpose(1, 2)).unflatten(2, (7, 7))
    m = m[:, :, : x.shape[2], : x.shape[3]]
    local = F.silu(net.batch_norm(net.conv(m, "conv_local.conv"), "conv_local.norm", eps=1e-6))
    return x + net.conv(m + local, "proj.conv")


def external(net: Net, x: Tensor) -> Tensor:
    weights = net.conv(net.conv(x, "conv1").flatten(2), "linear_0").softmax(2)
    answer = net.conv(weights / (1e-9 + weights.sum(1, keepdim=True)), "linear_1").reshape(x.shape)
    return (x + net.batch_norm(net.conv(answer, "conv2.0"), "conv2.1")).relu()


def additive_token(net: Net, x: Tensor) -> Tensor:
    def gated(t: Tensor, name: str) -> Tensor:
        spatial = net.batch_norm(net.conv(t, f"{name}.0.block.0"), f"{name}.0.block.1").relu()
        t = t * net.conv(spatial, f"{name}.0.block.3").sigmoid()
        return t * net.conv(pooled(t), f"{name}.1.block.1").sigmoid()

    q, k, v = net.conv(x, "qkv").chunk(3, 1)
    return net.conv(net.conv(gated(q, "oper_q") + gated(k, "oper_k"), "dwc") * v, "proj")


def area(areas: int, heads: int) -> Callable[[Net, Tensor], Tensor]:
    """Return area attention of the authors or, with one matrix for queries, keys and values, of Ultralytics."""

    def attention(net: Net, x: Tensor) -> Tensor:
        if "qkv.conv.weight" in net.weights:
            qkv = net.batch_norm(net.conv(x, "qkv.conv"), "qkv.bn").flatten(2)
            q, k, v = qkv.unflatten(1, (heads, 3, -1)).unbind(2)  # (B, heads, d, N)
        else:
            parts = (net.batch_norm(net.conv(x, f"{name}.conv"), f"{name}.bn").flatten(2) for name in ("qk", "v"))
            q, k, v = (t.unflatten(1, (heads, -1)) for t in torch.cat([*parts], 1).chunk(3, 1))
        value = v.flatten(1, 2).reshape(x.shape)
        q, k, v = (t.unflatten(3, (areas, -1)).transpose(2, 3) for t in (q, k, v))  # (B, heads, areas, d, n)
        weights = (q.transpose(3, 4) @ k * q.shape[3] ** -0.5).softmax(4)
        mixed = (v @ weights.transpose(3, 4)).transpose(2, 3).reshape(x.shape)
        local = net.batch_norm(net.conv(value, "pe.conv"), "pe.bn")
        return net.batch_norm(net.conv(mixed + local, "proj.conv"), "proj.bn")

    return attention


def shsa(net: Net, x: Tensor) -> Tensor:
    q, k, v = (
        net.batch_norm(net.conv(net.group_norm(x[:, :8], "pre_norm", 1), "qkv.c"), "qkv.bn")
        .flatten(2)
        .split((16, 16, 8), 1)
    )
    context = (v @ (q.transpose(1, 2) @ k / 4).softmax(2).transpose(1, 2)).reshape(x[:, :8].shape)
    return net.batch_norm(net.conv(torch.cat([context, x[:, 8:]], 1).relu(), "proj.1.c"), "proj.1.bn")


def cascade(net: Net, x: Tensor, prefix: str, window: int) -> Tensor:
    """Return cascaded group attention of 4 heads with 8 channels of keys, within windows padded with zeros."""
    b, c, height, width = x.shape
    x = F.pad(x, (0, -width % window, 0, -height % window))
    rows, columns = x.shape[2] // window, x.shape[3] // window
    x = x.reshape(b, c, rows, window, columns, window).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, window, window)
    place = torch.arange(window**2)
    row, column = place // window, place % window
    index = (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
    outputs: list[Tensor] = []
    for n, part in enumerate(x.chunk(4, 1)):
        features = part + outputs[-1] if outputs else part
        qkv = net.batch_norm(net.conv(features, f"{prefix}qkvs.{n}.c"), f"{prefix}qkvs.{n}.bn")
        q, k, v = qkv.split((8, 8, part.shape[1]), 1)
        q = net.batch_norm(net.conv(q, f"{prefix}dws.{n}.c"), f"{prefix}dws.{n}.bn")
        logits = q.flatten(2).transpose(1, 2) @ k.flatten(2) * 8**-0.5
        weights = (logits + net[f"{prefix}attention_biases"][n, index]).softmax(2)
        outputs.append((v.flatten(2) @ weights.transpose(1, 2)).reshape(v.shape))
    y = net.batch_norm(net.conv(torch.cat(outputs, 1).relu(), f"{prefix}proj.1.c"), f"{prefix}proj.1.bn")
    y = y.reshape(b, rows, columns, c, window, window).permute(0, 3, 1, 4, 2, 5)
    return y.reshape(b, c, rows * window, columns * window)[:, :, :height, :width]


def cascaded(prefix: str, window: int) -> Callable[[Net, Tensor], Tensor]:
    return lambda net, x: cascade(net, x, prefix, window)


def lite_mla(net: Net, x: Tensor) -> Tensor:
    """Return LiteMLA with one scale; heads of 8 channels, each with its queries, keys and values side by side."""
    qkv = net.conv(x, "qkv.conv")
    near = net.conv(net.conv(qkv, "aggreg.0.0"), "aggreg.0.1")
    q, k, v = torch.cat([qkv, near], 1).unflatten(1, (-1, 24)).flatten(3).split(8, 2)
    products = k.relu().transpose(2, 3) @ q.relu()  # (B, heads, N, N)
    out = v @ products / (products.sum(2, keepdim=True) + 1e-15)
    return net.batch_norm(net.conv(out.reshape(len(x), -1, *x.shape[2:]), "proj.conv"), "proj.norm")


def rca(net: Net, x: Tensor, prefix: str = "") -> Tensor:
    """Return RCA; batch norms after a convolution with bias."""
    q = x.mean(2, keepdim=True) + x.mean(3, keepdim=True)
    bands = net.batch_norm(net.conv(q, f"{prefix}excite.0"), f"{prefix}excite.1").relu()
    return net.conv(bands, f"{prefix}excite.3").sigmoid() * net.conv(x, f"{prefix}dwconv_hw")


def mpca(net: Net, x: Tensor) -> Tensor:
    def unit(y: Tensor, name: str) -> Tensor:
        return F.silu(net.batch_norm(net.conv(y, f"{name}.conv"), f"{name}.bn"))

    t = unit(torch.cat([x.mean(3), x.mean(2)], 2)[..., None], "conv_hw")
    w = unit(t, "conv_pool_hw").sigmoid()
    rows, columns = (t * w).sigmoid().split([x.shape[2], x.shape[3]], 2)
    channels = (unit(pooled(x), "gap.1") * w.mean(2, keepdim=True)).sigmoid()
    return x * rows * columns.transpose(2, 3) * channels


# --- convolutions -----------------------------------------------------------------------------------------------------


def rfa(stride: int = 1) -> Callable[..., Tensor]:
    """Return RFAConv of learned features: a softmax weights k x k values, laid out as a map and convolved."""

    def forward(net: Net, x: Tensor) -> Tensor:
        f = net.conv(x, "generate_feature.0", stride=stride, padding=1)
        f = net.batch_norm(f, "generate_feature.1").relu()
        a = net.conv(F.avg_pool2d(x, 3, stride, 1), "get_weight.1").unflatten(1, (-1, 9)).softmax(2).flatten(1, 2)
        y = net.conv(F.pixel_shuffle(a * f, 3), "conv.0", stride=3, padding=0)
        return net.batch_norm(y, "conv.1").relu()

    return forward


def rfa_unfold(net: Net, x: Tensor) -> Tensor:
    """Return RFAConv of the values themselves."""
    f = F.unfold(x, 3, padding=1).unflatten(2, x.shape[2:])
    a = net.batch_norm(net.conv(f, "get_weights.0"), "get_weights.1").unflatten(1, (-1, 9)).softmax(2).flatten(1, 2)
    return net.batch_norm(net.conv(F.pixel_shuffle(a * f, 3), "conv", stride=3, padding=0), "bn").relu()


def rfcbam(stride: int = 1) -> Callable[..., Tensor]:
    """Return RFCBAMConv: a gate for each channel, and one for each position of the map that is laid out."""

    def forward(net: Net, x: Tensor) -> Tensor:
        f = net.batch_norm(net.conv(x, "generate.0", stride=stride, padding=1), "generate.1").relu()
        f = F.pixel_shuffle(f, 3)
        channel = net.linear(net.linear(x.mean((2, 3)), "se.fc.0").relu(), "se.fc.2").sigmoid()[..., None, None]
        spatial = net.conv(torch.cat([f.amax(1, True), f.mean(1, True)], 1), "get_weight.0").sigmoid()
        return net.batch_norm(net.conv(f * channel * spatial, "conv.0", stride=3, padding=0), "conv.1").relu()

    return forward


def rfca(stride: int = 1) -> Callable[..., Tensor]:
    """Return RFCAConv: coordinate attention of the map that is laid out."""

    def forward(net: Net, x: Tensor) -> Tensor:
        f = net.batch_norm(net.conv(x, "generate.0", stride=stride, padding=1), "generate.1").relu()
        f = F.pixel_shuffle(f, 3)
        strips = torch.cat([f.mean(3), f.mean(2)], 2)[..., None]
        hidden = F.hardswish(net.batch_norm(net.conv(strips, "conv1"), "bn1"))
        rows, columns = hidden.split([f.shape[2], f.shape[3]], 2)
        gates = net.conv(rows, "conv_h").sigmoid(), net.conv(columns, "conv_w").sigmoid().transpose(2, 3)
        return net.conv(f * gates[0] * gates[1], "conv.0", stride=3, padding=0)

    return forward


def odconv(stride: int = 1) -> Callable[..., Tensor]:
    """Return ODConv, image by image."""

    def gate(net: Net, hidden: Tensor, name: str) -> Tensor:
        known = f"attention.{name}.weight" in net.weights
        return net.conv(hidden, f"attention.{name}").sigmoid() if known else torch.ones_like(hidden[:, :1])

    def forward(net: Net, x: Tensor) -> Tensor:
        hidden = net.batch_norm(net.conv(pooled(x), "attention.fc"), "attention.bn").relu()
        kernels, k = net["weight"], net["weight"].shape[-1]
        single = torch.ones_like(hidden[:, : len(kernels)])
        mixing = net.conv(hidden, "attention.kernel_fc").softmax(1) if len(kernels) > 1 else single
        taps = gate(net, hidden, "spatial_fc").expand(-1, k * k, 1, 1).reshape(-1, 1, 1, k, k)
        x, images = x * gate(net, hidden, "channel_fc"), []
        for image, weights, tap in zip(x, mixing, taps, strict=True):
            kernel = (weights[..., None, None] * kernels).sum(0) * tap
            images.append(F.conv2d(image[None], kernel, None, stride, k // 2, groups=len(image) // kernel.shape[1]))
        return torch.cat(images) * gate(net, hidden, "filter_fc")

    return forward


# --- fusion and blocks ------------------------------------------------------------------------------------------------


def context(net: Net, x: Tensor, suffix: str = "") -> Tensor:
    """Return the multi-scale context of AFF."""

    def bottleneck(y: Tensor, name: str, first: int) -> Tensor:
        y = net.batch_norm(net.conv(y, f"{name}.{first}"), f"{name}.{first + 1}").relu()
        return net.batch_norm(net.conv(y, f"{name}.{first + 3}"), f"{name}.{first + 4}")

    return bottleneck(x, f"local_att{suffix}", 0) + bottleneck(pooled(x), f"global_att{suffix}", 1)


def ms_cam(net: Net, x: Tensor) -> Tensor:
    return x * context(net, x).sigmoid()


def aff(net: Net, x: Tensor, y: Tensor) -> Tensor:
    w = context(net, x + y).sigmoid()
    return 2 * x * w + 2 * y * (1 - w)


def iaff(net: Net, x: Tensor, y: Tensor) -> Tensor:
    """Return iAFF as in the MXNet code, where the second round has its own context."""
    w = context(net, x + y).sigmoid()
    w = context(net, x * w + y * (1 - w), "2").sigmoid()
    return x * w + y * (1 - w)


def basic_block(net: Net, x: Tensor) -> Tensor:
    y = net.batch_norm(net.conv(x, "conv1"), "bn1").relu()
    y = net.batch_norm(net.conv(y, "conv2"), "bn2")
    if "se.fc.0.weight" in net.weights:
        y = y * net.linear(net.linear(y.mean((2, 3)), "se.fc.0").relu(), "se.fc.2").sigmoid()[..., None, None]
    return (x + y).relu()


def rcm(net: Net, x: Tensor) -> Tensor:
    hidden = F.gelu(net.conv(net.batch_norm(rca(net, x, "token_mixer."), "norm"), "mlp.fc1"))
    return x + net["gamma"][:, None, None] * net.conv(hidden, "mlp.fc2")


def strip_block(net: Net, x: Tensor) -> Tensor:
    """Return the block of Strip R-CNN: attention and an MLP, each with a batch norm before it and a scaled shortcut."""
    normed = net.batch_norm(x, "norm1")
    u = a = F.gelu(net.conv(normed, "attn.proj_1"))
    for name in ("conv0", "conv_spatial1", "conv_spatial2", "conv1"):
        a = net.conv(a, f"attn.spatial_gating_unit.{name}")
    x = x + net["layer_scale_1"][:, None, None] * (normed + net.conv(u * a, "attn.proj_2"))
    hidden = F.gelu(net.conv(net.conv(net.batch_norm(x, "norm2"), "mlp.fc1"), "mlp.dwconv.dwconv"))
    return x + net["layer_scale_2"][:, None, None] * net.conv(hidden, "mlp.fc2")


def asf_attention(net: Net, x: Tensor, y: Tensor) -> Tensor:
    gate = net.conv(x.mean((2, 3))[:, None], "channel_att.conv").sigmoid()
    z = x * gate.transpose(1, 2)[..., None] + y
    strips = torch.cat([z.mean(3), z.mean(2)], 2)[:, :, None]  # (B, C, 1, H + W)
    hidden = net.batch_norm(net.conv(strips, "local_att.conv_1x1"), "local_att.bn").relu()
    rows, columns = hidden.split([x.shape[2], x.shape[3]], 3)
    gates = net.conv(rows, "local_att.F_h").sigmoid().transpose(2, 3), net.conv(columns, "local_att.F_w").sigmoid()
    return z * gates[0] * gates[1]


def dasi(net: Net, x: Tensor, low: Tensor, high: Tensor | None = None) -> Tensor:
    """Return DASI; without a finer map each quarter of the others is joined to the same quarter of x."""
    x = net.conv(x, "skips.conv")
    coarse = F.interpolate(net.conv(low, "skips_2.conv"), x.shape[2:], mode="bilinear", align_corners=True)
    if high is None:
        pairs = zip(x.chunk(4, 1), coarse.chunk(4, 1), strict=True)
        mixed = torch.cat([net.conv(torch.cat(pair, 1), "conv.0.conv") for pair in pairs], 1)
    else:
        fine = net.conv(high, "skips_3", stride=2, padding=2, dilation=2)
        mixed = x.sigmoid() * coarse + (1 - x.sigmoid()) * fine
    return net.batch_norm(net.conv(mixed, "tail_conv.0.conv") + x, "bns").relu()


def context_guided(net: Net, x: Tensor) -> Tensor:
    def normed(x: Tensor, name: str) -> Tensor:
        x = net.batch_norm(x, f"{name}.bn", eps=1e-3)
        return torch.where(x > 0, x, net[f"{name}.act.weight"][:, None, None] * x)

    u = normed(net.conv(x, "conv1x1.conv"), "conv1x1")
    joint = normed(torch.cat([net.conv(u, "F_loc.conv"), net.conv(u, "F_sur.conv", dilation=2)], 1), "bn_prelu")
    hidden = net.linear(joint.mean((2, 3)), "F_glo.fc.0").relu()
    return x + joint * net.linear(hidden, "F_glo.fc.2").sigmoid()[..., None, None]


def context_guided_down(net: Net, x: Tensor) -> Tensor:
    def normed(x: Tensor, norm: str, act: str) -> Tensor:
        x = net.batch_norm(x, norm, eps=1e-3)
        return torch.where(x > 0, x, net[f"{act}.weight"][:, None, None] * x)

    u = normed(net.conv(x, "conv1x1.conv", stride=2, padding=1), "conv1x1.bn", "conv1x1.act")
    joint = torch.cat([net.conv(u, "F_loc.conv"), net.conv(u, "F_sur.conv", dilation=2)], 1)
    joint = net.conv(normed(joint, "bn", "act"), "reduce.conv")
    hidden = net.linear(joint.mean((2, 3)), "F_glo.fc.0").relu()
    return joint * net.linear(hidden, "F_glo.fc.2").sigmoid()[..., None, None]


def self_calibrated(net: Net, x: Tensor) -> Tensor:
    coarse, features = F.avg_pool2d(x, 4), net.batch_norm(net.conv(x, "k3.0"), "k3.1")
    coarse = net.batch_norm(net.conv(coarse, "k2.1"), "k2.2")
    gated = features * (x + F.interpolate(coarse, x.shape[2:])).sigmoid()
    return net.batch_norm(net.conv(gated, "k4.0"), "k4.1")


def glsa(net: Net, x: Tensor) -> Tensor:
    def unit(y: Tensor, name: str) -> Tensor:
        return net.batch_norm(net.conv(y, f"local.{name}.0"), f"local.{name}.1")

    first, second = x.chunk(2, 1)
    u, v = net.conv(first, "local_11conv"), net.conv(second, "global_11conv")
    t = u
    for n, activation in enumerate((F.relu, F.relu, F.silu)):
        t = activation(unit(t, f"conv{2 * n + 1}"))
        t = t + unit(t, f"conv{2 * n + 2}").relu()
    m = net.conv(t, "local.conv7.0").relu().sigmoid()
    weights = net.conv(v, "GlobelBlock.conv_mask").flatten(2).softmax(2)
    k = net.conv((v.flatten(2) * weights).sum(2)[..., None, None], "GlobelBlock.channel_mul_conv.0")
    k = net.group_norm(k, "GlobelBlock.channel_mul_conv.1", 1).relu()
    g = net.conv(k, "GlobelBlock.channel_mul_conv.3").sigmoid()
    return net.batch_norm(net.conv(torch.cat([u + u * m, v + v * g], 1), "conv1_1.conv"), "conv1_1.bn").relu()


def patch_attention(net: Net, x: Tensor, prefix: str, patch: int) -> Tensor:
    """Return the attention of patches of PPA, with the means of each patch in the order of its positions."""
    rows, columns = x.shape[2] // patch, x.shape[3] // patch
    values = x.mean(1)[:, : rows * patch, : columns * patch].reshape(len(x), rows, patch, columns, patch)
    r = values.transpose(2, 3).flatten(3)  # (B, rows, columns, positions of a patch)
    hidden = net.linear(r, f"{prefix}mlp1").permute(0, 3, 1, 2)
    centered = hidden - hidden.mean(1, keepdim=True)
    normed = (centered / (centered.square().mean(1, keepdim=True) + 1e-5).sqrt()).permute(0, 2, 3, 1)
    t = net.linear(normed * net[f"{prefix}norm.weight"] + net[f"{prefix}norm.bias"], f"{prefix}mlp2")
    o, prompt = t * t.softmax(3), net[f"{prefix}prompt"]
    likeness = (o @ prompt)[..., None] / (o.norm(dim=3, keepdim=True) * prompt.norm())
    o = (o * likeness.clamp(0, 1)) @ net[f"{prefix}top_down_transform"]
    resized = F.interpolate(o.permute(0, 3, 1, 2), x.shape[2:], mode="bilinear")
    return net.conv(resized, f"{prefix}conv")


def ppa(net: Net, x: Tensor) -> Tensor:
    """Return PPA without dropout; batch norms after convolutions with bias."""

    def unit(y: Tensor, name: str) -> Tensor:
        return net.batch_norm(net.conv(y, f"{name}.conv"), f"{name}.norm")

    q = unit(x, "skip")
    z, c = q + patch_attention(net, q, "lga2.", 2) + patch_attention(net, q, "lga4.", 4), x
    for name in ("c1", "c2", "c3"):
        c = unit(c, name).relu()
        z = z + c
    z = z * net.conv(z.mean((2, 3))[:, None], "cn.conv.0").sigmoid().transpose(1, 2)[..., None]
    two = torch.cat([z.mean(1, keepdim=True), z.amax(1, keepdim=True)], 1)
    return net.batch_norm(z * net.conv(two, "sa.conv2d").sigmoid(), "bn1").relu()


REFERENCES: dict[str, Callable[..., Tensor]] = {
    "additive_token": additive_token,
    "aff": aff,
    "area": area(4, 4),
    "area__whole": area(1, 2),
    "area_stock": area(4, 4),
    "asf_attention": asf_attention,
    "axial_deeplab": axial,
    "bam": bam(torch.mul),
    "bam_additive": bam(torch.add),
    "basic_block": basic_block,
    "caa": caa,
    "cbam": cbam,
    "cbam_spatial": cbam_spatial,
    "cga": cascaded("", 8),
    "cga_window": cascaded("attn.", 7),
    "cga_window__fit": cascaded("attn.", 4),
    "coordatt": coordinate,
    "context_guided": context_guided,
    "context_guided__down": context_guided_down,
    "cot": cot,
    "dasi": dasi,
    "dasi__low": dasi,
    "ela": ela(16),
    "ela__b": ela(16),
    "ela__l": ela(16),
    "ela__s": ela(16),
    "ela__t": ela(32),
    "ema": ema,
    "external": external,
    "gam": gam_replicate,
    "gam_group": gam(4),
    "gam_nogroup": gam(4),
    "gcnet": gc,
    "ge__plus_e4": gather_excite,
    "ge__plus_global": gather_excite,
    "ge__theta_e4": gather_excite,
    "ge_srm": gather_excite_of_srm,
    "glsa": glsa,
    "glsa__e24": glsa,
    "iaff_fixed": iaff,
    "irmb": irmb,
    "lite_mla": lite_mla,
    "mixed_pooling_mpm": mixed_pooling,
    "mpca": mpca,
    "ms_cam": ms_cam,
    "multiseam": multi_seam,
    "nam_channel_grad": nam,
    "nam_spatial": nam_spatial,
    "nonlocal_concatenation": non_local("concatenation"),
    "nonlocal_dot_product": non_local("dot_product"),
    "nonlocal_embedded_gaussian": non_local("embedded_gaussian"),
    "nonlocal_gaussian": non_local("gaussian"),
    "odconv": odconv(),
    "odconv__1x1": odconv(),
    "odconv__depthwise": odconv(),
    "odconv__stride2": odconv(2),
    "parnet": parnet,
    "polarized_s": polarized_s,
    "ppa_fixed": ppa,
    "ppa_fixed__ragged": ppa,
    "rca": rca,
    "rca__k1": rca,
    "rca__ratio2": rca,
    "rcm": rcm,
    "residual_attention": residual_attention(2),
    "residual_attention__stage1": residual_attention(3),
    "residual_attention__stage3": residual_attention(1),
    "rfa": rfa(),
    "rfa__stride2": rfa(2),
    "rfa__unfold": rfa_unfold,
    "rfca": rfca(),
    "rfca__stride2": rfca(2),
    "rfcbam": rfcbam(),
    "rfcbam__stride2": rfcbam(2),
    "scconv": self_calibrated,
    "scsa": scsa,
    "se_basic_block": basic_block,
    "seam": seam,
    "seam__n2": seam,
    "shsa": shsa,
    "shuffle_attention": shuffle_attention,
    "sk": sk,
    "sk_xmu": sk_article,
    "srm": srm,
    "strip__block": strip_block,
    "strip_pooling": strip_pooling,
    "triplet": triplet,
}
"""References by the names of their vectors."""
