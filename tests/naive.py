"""Slow, obviously right versions: written from the formula, sharing nothing with daskimg."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np


def channel_values(images):
    """Return the values of every channel, as lists of Python numbers."""
    channels = images.shape[-1]
    flat = images.tolist()
    values = [[] for _ in range(channels)]
    for image in flat:
        for row in image:
            for pixel in row:
                for channel in range(channels):
                    values[channel].append(pixel[channel])
    return values


def channel_sums(images):
    """Return (count, sums, squares) of integer pictures."""
    values = channel_values(images)
    return (
        images.shape[0] * images.shape[1] * images.shape[2],
        tuple(sum(of_one) for of_one in values),
        tuple(sum(value * value for value in of_one) for of_one in values),
    )


def steps(images):
    """Return float pictures in steps of 1/65535: nan as 0, and no more than 2**42 of them."""

    def step(value):
        if value != value:
            return 0
        if abs(value) > 2**27:
            return 2**42 if value > 0 else -(2**42)
        return max(-(2**42), min(2**42, round(Fraction(value) * 65535)))

    whole = [step(value) for value in images.ravel().tolist()]
    return np.array(whole, object).reshape(images.shape)


def mean(values, scale):
    """Return the mean of some integers, rounded once."""
    return float(Fraction(sum(values), len(values) * scale))


def std(values, scale):
    """Return the population standard deviation of some integers, to 80 digits, rounded once."""
    exact = Fraction(sum(values), len(values))
    variance = sum((value - exact) ** 2 for value in values) / len(values)
    with localcontext() as context:
        context.prec = 80
        return float((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt() / scale)


def look_up(images, tables, planar):
    """Return what each level stands for, value by value."""
    samples, height, width, channels = images.shape
    shape = (samples, channels, height, width) if planar else images.shape
    out = np.empty(shape, tables.dtype)
    for sample, row, column, channel in np.ndindex(images.shape):
        entry = tables[sample if len(tables) > 1 else 0][channel][
            images[sample, row, column, channel]
        ]
        where = (sample, channel, row, column) if planar else (sample, row, column, channel)
        out[where] = entry
    return out


def normalized(images, centres, spreads):
    """Return (value - centre) / spread as exact fractions, then one float64 each."""
    out = np.empty(images.shape, np.float64)
    for where in np.ndindex(images.shape):
        centre, spread = Fraction(centres[where[-1]]), Fraction(spreads[where[-1]])
        out[where] = float((Fraction(images[where].item()) - centre) / spread)
    return out
