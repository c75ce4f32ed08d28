"""Batches as a ``tf.data.Dataset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from daskimg.adapters._held import Held, refuse_reuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daskimg.read import Batch, Samples


def tensorflow_batches(
    samples: Samples, batch_size: int, settings: Mapping[str, Any]
) -> tf.data.Dataset:
    """Return an epoch as a dataset of dicts: image, label, sample, valid, and each target."""
    held = Held(samples, batch_size, settings)
    refuse_reuse(held, "TensorFlow asks for several ahead")
    example = samples.taker(**settings).take([0], held.first)
    signature = {
        name: tf.TensorSpec((None, *array.shape[1:]), array.dtype)
        for name, array in _named(example).items()
    }

    def read() -> Iterator[dict[str, Any]]:
        with held.batches(held.first) as epoch:
            for batch in epoch:
                yield _named(batch)

    found = tf.data.Dataset.from_generator(read, output_signature=signature)
    count = len(held.batches(held.first))
    return found.apply(tf.data.experimental.assert_cardinality(count))


def _named(batch: Batch) -> dict[str, Any]:
    image, label, sample, valid, targets = batch
    return {"image": image, "label": label, "sample": sample, "valid": valid, **targets}
