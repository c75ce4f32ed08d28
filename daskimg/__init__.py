"""A table of image paths becomes ordered, fixed-size training arrays in sharded Zarr.

>>> manifest = daskimg.read_manifest("labels.csv")                       # doctest: +SKIP
>>> plan = daskimg.plan_store(manifest, "out.zarr", daskimg.recipes.resize(64))
... # doctest: +SKIP
>>> report = daskimg.build_store(plan)                                   # doctest: +SKIP
>>> samples = daskimg.open_store("out.zarr")                             # doctest: +SKIP

Names are imported when they are first used: a machine that only reads needs no Dask.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Read by gcsfs at its import: otherwise each operation against a server that is not Google's
# own stalls for a minute, asking a gRPC service for the bucket's type.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

if TYPE_CHECKING:
    from daskimg import recipes
    from daskimg.augment import Augment
    from daskimg.build import ClusterOptions, Report, build_store
    from daskimg.contract import check_transform
    from daskimg.copies import Copy, copy_store
    from daskimg.decode import Picture
    from daskimg.errors import (
        AccessError,
        DaskimgError,
        ManifestError,
        OptionError,
        PlanError,
        SampleError,
        StoppedError,
        StoreError,
        TransformError,
        TransportError,
    )
    from daskimg.export import Export, ExportOptions, export_samples
    from daskimg.heatmaps import draw_heatmaps
    from daskimg.manifest import Manifest, read_manifest
    from daskimg.noise import gaussian_noise
    from daskimg.options import DecodeOptions, RunOptions, StoreOptions
    from daskimg.plan import Plan, plan_store
    from daskimg.preview import Comparison, Preview, preview_row, preview_rows
    from daskimg.read import (
        Batch,
        Epoch,
        ReadOptions,
        Samples,
        epoch_order,
        open_store,
        open_stores,
        shuffle_score,
        splits_of,
    )
    from daskimg.recipe import Recipe
    from daskimg.report import write_report
    from daskimg.statistics import normalize
    from daskimg.targets import Keypoints, MaskFile
    from daskimg.tiles import join_tiles
    from daskimg.transforms import (
        Autocontrast,
        CenterCrop,
        Choose,
        Concatenate,
        Equalize,
        Fit,
        Flip,
        Grayscale,
        Heatmaps,
        MinSize,
        Mirror,
        Modes,
        NoiseFit,
        NoiseFrames,
        PersonCrop,
        PhotometricJitter,
        RandomCrop,
        RandomMirror,
        Resize,
        Rotate,
        Sample,
        Spec,
        SquareCrop,
        Target,
        TargetSpec,
        Tiles,
        Transform,
    )
    from daskimg.verify import Verification, verify_store

_ROOMS = {
    "augment": ("Augment",),
    "build": ("ClusterOptions", "Report", "build_store"),
    "contract": ("check_transform",),
    "copies": ("Copy", "copy_store"),
    "decode": ("Picture",),
    "errors": (
        "AccessError",
        "DaskimgError",
        "ManifestError",
        "OptionError",
        "PlanError",
        "SampleError",
        "StoppedError",
        "StoreError",
        "TransformError",
        "TransportError",
    ),
    "export": ("Export", "ExportOptions", "export_samples"),
    "heatmaps": ("draw_heatmaps",),
    "manifest": ("Manifest", "read_manifest"),
    "noise": ("gaussian_noise",),
    "options": ("DecodeOptions", "RunOptions", "StoreOptions"),
    "plan": ("Plan", "plan_store"),
    "preview": ("Comparison", "Preview", "preview_row", "preview_rows"),
    "read": (
        "Batch",
        "Epoch",
        "ReadOptions",
        "Samples",
        "epoch_order",
        "open_store",
        "open_stores",
        "shuffle_score",
        "splits_of",
    ),
    "recipe": ("Recipe",),
    "report": ("write_report",),
    "statistics": ("normalize",),
    "targets": ("Keypoints", "MaskFile"),
    "tiles": ("join_tiles",),
    "transforms": (
        "Autocontrast",
        "CenterCrop",
        "Choose",
        "Concatenate",
        "Equalize",
        "Fit",
        "Flip",
        "Grayscale",
        "Heatmaps",
        "MinSize",
        "Mirror",
        "Modes",
        "NoiseFit",
        "NoiseFrames",
        "PersonCrop",
        "PhotometricJitter",
        "RandomCrop",
        "RandomMirror",
        "Resize",
        "Rotate",
        "Sample",
        "Spec",
        "SquareCrop",
        "Target",
        "TargetSpec",
        "Tiles",
        "Transform",
    ),
    "verify": ("Verification", "verify_store"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "AccessError",
    "Augment",
    "Autocontrast",
    "Batch",
    "CenterCrop",
    "Choose",
    "ClusterOptions",
    "Comparison",
    "Concatenate",
    "Copy",
    "DaskimgError",
    "DecodeOptions",
    "Epoch",
    "Equalize",
    "Export",
    "ExportOptions",
    "Fit",
    "Flip",
    "Grayscale",
    "Heatmaps",
    "Keypoints",
    "Manifest",
    "ManifestError",
    "MaskFile",
    "MinSize",
    "Mirror",
    "Modes",
    "NoiseFit",
    "NoiseFrames",
    "OptionError",
    "PersonCrop",
    "PhotometricJitter",
    "Picture",
    "Plan",
    "PlanError",
    "Preview",
    "RandomCrop",
    "RandomMirror",
    "ReadOptions",
    "Recipe",
    "Report",
    "Resize",
    "Rotate",
    "RunOptions",
    "Sample",
    "SampleError",
    "Samples",
    "Spec",
    "SquareCrop",
    "StoppedError",
    "StoreError",
    "StoreOptions",
    "Target",
    "TargetSpec",
    "Tiles",
    "Transform",
    "TransformError",
    "TransportError",
    "Verification",
    "build_store",
    "check_transform",
    "copy_store",
    "draw_heatmaps",
    "epoch_order",
    "export_samples",
    "gaussian_noise",
    "join_tiles",
    "normalize",
    "open_store",
    "open_stores",
    "plan_store",
    "preview_row",
    "preview_rows",
    "read_manifest",
    "recipes",
    "shuffle_score",
    "splits_of",
    "verify_store",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "recipes":
        return import_module("daskimg.recipes")
    if name in _ROOM_OF:
        return getattr(import_module(f"daskimg.{_ROOM_OF[name]}"), name)
    raise AttributeError(f"module 'daskimg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
