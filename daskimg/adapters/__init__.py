"""Samples for PyTorch, JAX and TensorFlow: each imports its library when it is asked for.

Thin: order, ranks, augmentation and resuming are those of ``Samples.batches``. One process with
threads is the recommended way, also under PyTorch: ``samples.to_torch`` is iterated as it is,
without a ``DataLoader``. Worker processes would each map and check the store for themselves and
send every batch through shared memory, and they are where other loaders repeat or lose samples.
"""
