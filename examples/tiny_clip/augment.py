"""Random views of batches of pictures and drawings."""

import math

import torch
from torch.nn import functional

IMAGE_SIZE = 64


def uniform(n, low, high, generator):
    return low + (high - low) * torch.rand(n, generator=generator)


def warped(pixels, generator, mirror, scale, angle):
    """Random rotation, zoom, aspect ratio, shift and, if allowed, mirroring."""
    n = len(pixels)
    zoom = 1 / uniform(n, *scale, generator)
    aspect = uniform(n, -0.12, 0.12, generator).exp()
    turn = uniform(n, -angle, angle, generator) * math.pi / 180
    flip = torch.where((torch.rand(n, generator=generator) < 0.5) & mirror, -1.0, 1.0)
    cos, sin = turn.cos(), turn.sin()
    matrix = torch.stack(
        [
            torch.stack([zoom * aspect * cos * flip, -zoom * aspect * sin], 1),
            torch.stack([zoom / aspect * sin * flip, zoom / aspect * cos], 1),
        ],
        1,
    )
    shift = uniform((n, 2, 1), -0.15, 0.15, generator)
    size = (n, pixels.shape[1], IMAGE_SIZE, IMAGE_SIZE)
    grid = functional.affine_grid(torch.cat([matrix, shift], 2), size, align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False)


def backgrounds(n, generator):
    """Backgrounds: white for half of the pictures, else one colour or a gradient between two."""
    first = torch.rand((n, 3, 1, 1), generator=generator)
    second = torch.where(
        torch.rand((n, 1, 1, 1), generator=generator) < 0.5,
        first,
        torch.rand((n, 3, 1, 1), generator=generator),
    )
    ramp = torch.linspace(0, 1, IMAGE_SIZE)
    across = torch.rand((n, 1, 1, 1), generator=generator) < 0.5
    ramp = torch.where(across, ramp[None, None, None, :], ramp[None, None, :, None])
    white = torch.rand((n, 1, 1, 1), generator=generator) < 0.5
    return torch.where(white, torch.ones(()), first + (second - first) * ramp)


def jittered(rgb, generator):
    """Random brightness, contrast, saturation and mixing of channels; some pictures become grey."""
    n = len(rgb)
    mix = torch.eye(3) + 0.12 * torch.randn((n, 3, 3), generator=generator)
    mix = mix / mix.sum(2, keepdim=True).clamp(min=0.3)
    rgb = torch.einsum("nij,njhw->nihw", mix, rgb)
    grey = rgb.mean(1, keepdim=True)
    saturation = uniform((n, 1, 1, 1), 0.5, 1.4, generator)
    saturation = saturation * (torch.rand((n, 1, 1, 1), generator=generator) > 0.12)
    rgb = grey + saturation * (rgb - grey)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    contrast = uniform((n, 1, 1, 1), 0.6, 1.3, generator)
    brightness = uniform((n, 1, 1, 1), -0.15, 0.15, generator)
    return (mean + contrast * (rgb - mean) + brightness).clamp(0, 1)


def degraded(rgb, generator, share):
    """Blur, noise and coarse pixels, each for a part of the batch."""
    n = len(rgb)
    order = torch.randperm(n, generator=generator)
    part = max(1, int(n * share / 4))
    for k, side in enumerate((8, 11, 16, 22)):
        chosen = order[k * part : (k + 1) * part]
        coarse = functional.adaptive_avg_pool2d(rgb[chosen], side)
        rgb[chosen] = functional.interpolate(coarse, IMAGE_SIZE)
    chosen = order[4 * part : 4 * part + max(1, n // 6)]
    rgb[chosen] = functional.avg_pool2d(rgb[chosen], 3, 1, 1, count_include_pad=False)
    noise = uniform((n, 1, 1, 1), -0.06, 0.06, generator).clamp(min=0)
    return (rgb + noise * torch.randn(rgb.shape, generator=generator)).clamp(0, 1)


def art_views(pixels, mirror, generator):
    """Views of premultiplied RGBA pictures (n, 80, 80, 4) uint8 as RGB (n, 3, 64, 64) in [0, 1]."""
    rgba = pixels.permute(0, 3, 1, 2).float() / 255
    rgba = warped(rgba, generator, mirror, scale=(0.6, 1.25), angle=18)
    rgb = rgba[:, :3] + (1 - rgba[:, 3:]) * backgrounds(len(rgba), generator)
    return degraded(jittered(rgb, generator), generator, share=0.1)


def glyph_views(masks, generator):
    """Views of ink masks (n, 80, 80) uint8, with ink and paper in two colours of enough contrast."""
    n = len(masks)
    never = torch.zeros(n, dtype=torch.bool)
    ink = warped(masks[:, None].float() / 255, generator, never, scale=(0.7, 1.25), angle=12)
    paper = backgrounds(n, generator)
    level = paper.mean((1, 2, 3), keepdim=True)
    colour = torch.rand((n, 3, 1, 1), generator=generator) * 0.35
    colour = torch.where(level > 0.5, colour, 1 - colour)
    plain = torch.rand((n, 1, 1, 1), generator=generator) < 0.5
    colour = torch.where(plain, (level < 0.5).float(), colour)
    strength = uniform((n, 1, 1, 1), 0.6, 1, generator)
    rgb = paper + strength * ink * (colour - paper)
    inverted = torch.rand((n, 1, 1, 1), generator=generator) < 0.3
    rgb = torch.where(inverted, 1 - rgb, rgb)
    return degraded(rgb, generator, share=0.6)
