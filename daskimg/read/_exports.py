"""Samples as arrays of other libraries, which are imported when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskimg.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from daskimg.read._columns import Column
    from daskimg.read._stored import Stored


def as_dask(stores: Sequence[Stored], chosen: NDArray[np.int64] | None) -> Any:
    """Return images as a Dask array, a block a shard."""
    import dask.array

    arrays = []
    for each in stores:
        image = each.group["image"]
        name = f"daskimg-{each.url}-{each.split or ''}"
        block = image.shards or image.chunks
        arrays.append(dask.array.from_array(image, chunks=block, name=name))
    whole = dask.array.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return whole if chosen is None else whole[chosen]


def as_xarray(
    stores: Sequence[Stored], chosen: NDArray[np.int64] | None, columns: Mapping[str, Column]
) -> Any:
    """Return stores as an ``xarray.Dataset``, opened lazily, with the columns of a view."""
    try:
        import xarray
    except ImportError:
        raise OptionError("to_xarray needs xarray: pip install 'daskimg[xarray]'") from None
    parts = [xarray.open_zarr(each.committed.group.store, group=each.split) for each in stores]
    whole = xarray.concat(parts, dim="sample") if len(parts) > 1 else parts[0]
    view = whole if chosen is None else whole.isel(sample=chosen)
    for name, column in columns.items():
        axes = ("sample", f"{name}_class")[: column.numbers.ndim]
        view = view.assign({name: (axes, column.numbers)})
    return view
