"""Throughput of the frozen networks at their true sizes, with random weights: nothing is downloaded.

    python benchmarks/frozen_h100.py --out frozen.json          # one GPU of 40 GB or more, under 4 minutes
    python benchmarks/frozen_h100.py --only "SD VAE decode, compiled" --out frozen.json      # one row
    python benchmarks/frozen_h100.py --device cpu --tiny        # the same, tiny

Each row is images per second of the whole way: uint8 images in host memory, preprocessing on the device, the network
in bfloat16, float32 embeddings (or uint8 images) back in host memory; and of the network alone, on inputs already
there. The share is the network's floating-point operations a second over those of a large bfloat16 matrix product
measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from braindec.frozen.base import DecodableNetwork, FrozenNetwork
from braindec.frozen.clip import ClipVision
from braindec.frozen.images import CLIP_MEAN, CLIP_SD, ImagePreprocessing
from braindec.frozen.layers import LayerFeatures
from braindec.frozen.openclip import OpenClipVision
from braindec.frozen.vae import AutoencoderKL
from braindec.frozen.vdvae.config import IMAGENET64, TINY
from braindec.frozen.vdvae.model import VDVAE
from braindec.frozen.vdvae.network import VDVAENetwork

PUBLISHED_TFLOPS = 777.0


def clip_tokens(options: argparse.Namespace) -> FrozenNetwork:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    if options.tiny:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, patch_size=14, image_size=224, projection_dim=768)
    with torch.device(options.device):
        module = CLIPVisionModelWithProjection(config)
    network = ClipVision("in memory", options.device, "bfloat16", options.batch(256), output="tokens")
    return network.adopt(module)


def bigg_tokens(options: argparse.Namespace) -> FrozenNetwork:
    from open_clip.transformer import VisionTransformer

    sizes = {"width": 1664, "layers": 48, "heads": 16, "mlp_ratio": 4.9231}
    if options.tiny:
        sizes = {"width": 32, "layers": 2, "heads": 4, "mlp_ratio": 2.0}
    holder = nn.Module()
    with torch.device(options.device):
        holder.visual = VisionTransformer(image_size=224, patch_size=14, output_dim=1280, **sizes)
    holder.visual.preprocess_cfg = {"size": 224, "mean": CLIP_MEAN, "std": CLIP_SD}
    network = OpenClipVision("in memory", options.device, "bfloat16", options.batch(128), output="tokens")
    return network.adopt(holder)


def dinov2_giant(options: argparse.Namespace) -> FrozenNetwork:
    from transformers import Dinov2Config, Dinov2Model

    sizes: dict[str, Any] = {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24}
    if options.tiny:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Dinov2Config(**sizes, use_swiglu_ffn=True, image_size=518, patch_size=14)
    with torch.device(options.device):
        module = Dinov2Model(config)
    network = LayerFeatures(
        "in memory",
        "transformers",
        layer="layernorm",
        pooling="tokens",
        device=options.device,
        dtype="bfloat16",
        batch_size=options.batch(128),
    )
    network.preprocessing_ = ImagePreprocessing(resize=256, crop=224)
    return network.adopt(module)


def vdvae(options: argparse.Namespace, channels_last: bool = False) -> DecodableNetwork:
    with torch.device(options.device):
        module = VDVAENetwork(TINY if options.tiny else IMAGENET64)
    if channels_last:
        module.to(memory_format=torch.channels_last)
    return VDVAE("in memory", options.device, "bfloat16", options.batch(64), draw_on=options.device).adopt(module)


def stable_diffusion_vae(options: argparse.Namespace, compiled: bool = False) -> DecodableNetwork:
    from diffusers import AutoencoderKL as DiffusersAutoencoderKL

    widths = (8, 8, 8, 8) if options.tiny else (128, 256, 512, 512)
    with torch.device(options.device):
        module = DiffusersAutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=widths,
            layers_per_block=2,
            norm_num_groups=4 if options.tiny else 32,
            scaling_factor=0.18215,
        )
    size = 64 if options.tiny else 512
    network = AutoencoderKL("in memory", options.device, "bfloat16", options.batch(16), size, compiled)
    return network.adopt(module)


def main() -> None:
    options = parse()
    started = time.perf_counter()
    with torch.inference_mode():
        peak = matmul_tflops(options)
    print(f"bfloat16 matrix product: {peak:.0f} TFLOP/s ({device_name(options)})")
    print(f"{'network':28} {'batch':>5} {'end to end':>12} {'network':>10} {'GFLOP':>8} {'share':>6} {'s':>6}")
    rows = []
    chosen = [(name, measure) for name, measure in plan(options) if options.only in (None, name)]
    if not chosen:
        raise SystemExit(f"--only: no network is called {options.only!r}")
    for name, measure in chosen:
        if time.perf_counter() - started > options.budget_s:
            rows.append({"network": name, "skipped": f"the {options.budget_s:.0f} s were spent"})
            print(f"{name:28} skipped: the {options.budget_s:.0f} s were spent")
            continue
        before = time.perf_counter()
        row = {"network": name, **measure()}
        row["share"] = row["network_per_s"] * row["gflop"] / 1e3 / peak
        rows.append(row)
        print(
            f"{name:28} {row['batch']:5d} {row['end_to_end_per_s']:8.1f} im/s {row['network_per_s']:5.0f} im/s "
            f"{row['gflop']:8.1f} {row['share']:6.1%} {time.perf_counter() - before:6.1f}",
            flush=True,
        )
    result = {
        "device": device_name(options),
        "torch": torch.__version__,
        "matmul_tflops": peak,
        "tiny": options.tiny,
        "total_s": time.perf_counter() - started,
        "rows": rows,
    }
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"total {result['total_s']:.0f} s; share is of {peak:.0f} TFLOP/s (an H100 gives {PUBLISHED_TFLOPS:.0f})")


def plan(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    yield "CLIP ViT-L/14 tokens", lambda: encoding(clip_tokens(options), options)
    yield "CLIP ViT-bigG/14 tokens", lambda: encoding(bigg_tokens(options), options)
    yield "DINOv2 ViT-g/14 tokens", lambda: encoding(dinov2_giant(options), options)
    yield "VDVAE encode", lambda: encoding(vdvae(options), options)
    yield "VDVAE decode", lambda: decoding(vdvae(options), options)
    yield "VDVAE encode, channels last", lambda: encoding(vdvae(options, channels_last=True), options)
    yield "VDVAE decode, channels last", lambda: decoding(vdvae(options, channels_last=True), options)
    yield "SD VAE encode", lambda: encoding(stable_diffusion_vae(options), options)
    yield "SD VAE decode", lambda: decoding(stable_diffusion_vae(options), options)
    if options.compile:
        yield "SD VAE decode, compiled", lambda: decoding(stable_diffusion_vae(options, compiled=True), options)
        yield "SD VAE encode, compiled", lambda: encoding(stable_diffusion_vae(options, compiled=True), options)


def encoding(network: FrozenNetwork, options: argparse.Namespace) -> dict[str, Any]:
    network.module.requires_grad_(False)
    images = np.random.default_rng(0).integers(0, 256, (network.batch_size, 425, 425, 3), dtype=np.uint8)
    on_device = torch.from_numpy(images).to(options.device)

    def alone() -> Tensor:
        if isinstance(network, VDVAE):
            return network.encode_batch(images)
        return network.encode_batch(on_device)

    with torch.inference_mode():
        gflop = counted(alone) / network.batch_size
        network_s = best_seconds(alone, options)
    many = np.concatenate([images] * options.batches)

    def whole() -> None:
        for _ in network.encode_batches(many):
            pass

    return figures(network, gflop, network_s, seconds(whole, options) / options.batches)


def decoding(network: DecodableNetwork, options: argparse.Namespace) -> dict[str, Any]:
    network.module.requires_grad_(False)
    batch = network.batch_size
    if isinstance(network, VDVAE):
        shape: tuple[int, ...] = (batch, network.config.top_size)
    else:
        side = network.image_size // 8  # type: ignore[attr-defined]
        shape = (batch, 4, side * side)
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    on_device = torch.from_numpy(values).to(options.device)
    seeds = list(range(batch))

    def alone() -> Tensor:
        return network.decode_batch(on_device, seeds)

    with torch.inference_mode():
        gflop = counted(alone) / batch
        network_s = best_seconds(alone, options)
    many = np.concatenate([values] * options.batches)
    return figures(network, gflop, network_s, seconds(lambda: network.decode(many), options) / options.batches)


def figures(network: FrozenNetwork, gflop: float, network_s: float, whole_s: float) -> dict[str, Any]:
    batch = network.batch_size
    return {"batch": batch, "end_to_end_per_s": batch / whole_s, "network_per_s": batch / network_s, "gflop": gflop}


def counted(run: Callable[[], Any]) -> float:
    """Operations of one call in units of 1e9, a multiplication and an addition counted as two."""
    counter = FlopCounterMode(display=False)
    with torch.compiler.set_stance("force_eager"), counter:
        run()
    return counter.get_total_flops() / 1e9


def best_seconds(run: Callable[[], Any], options: argparse.Namespace) -> float:
    for _ in range(2):
        run()
    return statistics.median(seconds(run, options) for _ in range(options.batches))


def seconds(run: Callable[[], Any], options: argparse.Namespace) -> float:
    wait(options)
    started = time.perf_counter()
    run()
    wait(options)
    return time.perf_counter() - started


def wait(options: argparse.Namespace) -> None:
    if options.device.startswith("cuda"):
        torch.cuda.synchronize()


def matmul_tflops(options: argparse.Namespace) -> float:
    side = 256 if options.tiny else 8192
    a, b = (torch.randn(side, side, device=options.device, dtype=torch.bfloat16) for _ in range(2))
    repeats = 2 if options.tiny else 20

    def run() -> None:
        for _ in range(repeats):
            a @ b

    run()
    return 2 * side**3 * repeats / min(seconds(run, options) for _ in range(3)) / 1e12


def device_name(options: argparse.Namespace) -> str:
    return torch.cuda.get_device_name() if options.device.startswith("cuda") else "CPU"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the script on a CPU")
    parser.add_argument("--batches", type=int, default=6, help="batches timed")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--budget-s", type=float, default=220.0, help="start no further network after this time")
    parser.add_argument("--only", help="the name of one row")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.batch = lambda size: 2 if options.tiny else size
    if options.tiny:
        options.batches = 2
    return options


if __name__ == "__main__":
    main()
