"""What samples are read for: training, and other libraries, imported when they are asked for."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from daskimg.errors import OptionError
from daskimg.read._epoch import Epoch
from daskimg.read._exports import as_dask, as_xarray
from daskimg.read._options import ReadOptions
from daskimg.read._taker import Taker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from daskimg.adapters.jax import JaxBatches
    from daskimg.adapters.torch import TorchBatches, TorchSamples
    from daskimg.export import Export, ExportOptions
    from daskimg.read._batch import Batch
    from daskimg.read._columns import Column
    from daskimg.read._samples import Samples
    from daskimg.read._sources import AnyArrays
    from daskimg.read._stored import Stored
    from daskimg.sheets import Sheet


class Outlets:
    """The ways in which ``Samples`` are handed on."""

    _stores: tuple[Stored, ...]
    _chosen: NDArray[np.int64] | None
    _columns: dict[str, Column]
    _arrays: AnyArrays

    @property
    def _own(self) -> Samples:
        return cast("Samples", self)

    def batches(
        self,
        batch_size: int,
        options: ReadOptions | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Epoch:
        """Return the batches of one epoch: an iterator that can be left and taken up.

        In table order and without the samples that failed, unless told otherwise.

        Parameters
        ----------
        batch_size
            Samples a batch, of all ranks together: a multiple of their number. So the batches
            are the same for any number of ranks, each of which reads its equal part.
        options
            How to read.
        state
            Of ``Epoch.state_dict``: go on there, by its seed and epoch.
        **settings
            Fields of ``ReadOptions``; those of ``options`` give way to them.

        Raises
        ------
        OptionError
            If a setting is out of range, or does not fit the store.
        StoreError
            When it is met: if a shard is missing or a chunk is damaged.

        Examples
        --------
        >>> samples = open_store("out.zarr")                                # doctest: +SKIP
        >>> for batch in samples.batches(256, shuffle=True, seed=1, epoch=3, dtype="float32"):
        ...     step(batch.image, batch.label)                              # doctest: +SKIP
        """
        epoch = Epoch(self._own, self._arrays, batch_size, _options(options, settings))
        if state is not None:
            epoch.load_state_dict(state)
        return epoch

    def take(
        self,
        places: Sequence[int] | NDArray[np.int64],
        options: ReadOptions | None = None,
        **settings: Any,
    ) -> Batch:
        """Return some samples by number as one batch, in the order given.

        Parameters
        ----------
        places
            Numbers of samples; those that failed are zeros, and not ``valid``.
        options, **settings
            In which form, as for ``batches``; what orders and chooses is not used.
        """
        return self.taker(options, **settings).take(places)

    def taker(self, options: ReadOptions | None = None, **settings: Any) -> Taker:
        """Return what takes samples by number again and again, in the same form."""
        return Taker(self._own, self._arrays, _options(options, settings))

    def to_torch(self, batch_size: int, *, device: Any = None, **settings: Any) -> TorchBatches:
        """Return the batches of an epoch as tensors: an ``IterableDataset``; needs torch.

        Parameters
        ----------
        batch_size, **settings
            As for ``batches``; rank and world are those of ``torch.distributed``, or RANK and
            WORLD_SIZE of the environment, if they are not given.
        device
            Where the tensors are to be; the next batch goes there while one is worked on.

        Examples
        --------
        >>> batches = samples.to_torch(256, shuffle=True, dtype="float32")  # doctest: +SKIP
        >>> for epoch in range(90):                                         # doctest: +SKIP
        ...     batches.set_epoch(epoch)
        ...     for batch in batches:
        ...         step(batch.image, batch.label)
        """
        found: TorchBatches = _adapter("torch").TorchBatches(self, batch_size, settings, device)
        return found

    def to_torch_map(self, **settings: Any) -> TorchSamples:
        """Return (image, label) by number as a ``Dataset`` for PyTorch's samplers."""
        found: TorchSamples = _adapter("torch").TorchSamples(self, settings)
        return found

    def to_jax(
        self, batch_size: int, *, sharding: Any = None, ahead: int = 1, **settings: Any
    ) -> JaxBatches:
        """Return the batches of an epoch as arrays of JAX, on its devices; needs jax.

        Parameters
        ----------
        batch_size, **settings
            As for ``batches``; rank and world are those of JAX's process, if not given.
        sharding
            How arrays lie on devices: with several processes, global arrays.
        ahead
            Batches on their way to the devices while one is worked on.
        """
        found: JaxBatches = _adapter("jax").JaxBatches(self, batch_size, settings, sharding, ahead)
        return found

    def to_tf(self, batch_size: int, **settings: Any) -> Any:
        """Return an epoch as a ``tf.data.Dataset`` of dicts; needs tensorflow."""
        return _adapter("tensorflow").tensorflow_batches(self, batch_size, settings)

    def show(self, samples: int | Sequence[int] = 24) -> Sheet:
        """Return pictures of some samples, which a notebook draws and ``save`` writes as PNG.

        Masks and joints are drawn over them, heatmaps beside them; what failed is grey.

        Parameters
        ----------
        samples
            How many, spread over all; or which.

        Examples
        --------
        >>> samples.show(12).save("samples.png")                            # doctest: +SKIP
        """
        from daskimg.read._display import sheet_of  # here: drawing needs Pillow, reading does not

        return sheet_of(self._own, samples)

    def _repr_html_(self) -> str:
        from daskimg.read._display import page_of

        return page_of(self._own)

    def export(self, url: str, options: ExportOptions | None = None, **settings: Any) -> Export:
        """Write the samples as files of another format; see ``daskimg.export_samples``.

        Examples
        --------
        >>> samples.export("tars", format="webdataset", encoding="jpeg")    # doctest: +SKIP
        """
        from daskimg.export import export_samples  # here: encoding needs Pillow, reading does not

        return export_samples(self._own, url, options, **settings)

    def to_dask(self) -> Any:
        """Return the images as a Dask array, a block a shard; needs Dask."""
        return as_dask(self._stores, self._chosen)

    def to_xarray(self) -> Any:
        """Return the store as an ``xarray.Dataset``, opened lazily; needs xarray."""
        return as_xarray(self._stores, self._chosen, self._columns)


def _options(options: ReadOptions | None, settings: Mapping[str, Any]) -> ReadOptions:
    known = [each.name for each in fields(ReadOptions)]
    for name in settings:
        if name not in known:
            raise OptionError(f"there is no option {name!r}; there are {', '.join(known)}")
    return replace(options or ReadOptions(), **settings)


def _adapter(library: str) -> Any:
    """Import what knows a library, or say how to install it."""
    try:
        return import_module(f"daskimg.adapters.{library}")
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise OptionError(f"this needs {library}: pip install 'daskimg[{library}]'") from None
