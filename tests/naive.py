"""Slow, obviously right versions: written from the formula, sharing nothing with daskimg."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from statistics import NormalDist

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


def philox4x32(counter, key):
    """Return four random words, as section 3.3 of the paper has them: ten S-box rounds."""
    left0, right0, left1, right1 = counter[1], counter[0], counter[3], counter[2]
    key0, key1 = key
    for turn in range(10):
        high0, low0 = divmod(0xD2511F53 * right0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * right1, 2**32)
        round0 = (key0 + turn * 0x9E3779B9) % 2**32
        round1 = (key1 + turn * 0xBB67AE85) % 2**32
        right0, left0, right1, left1 = high1 ^ left0 ^ round0, low1, high0 ^ left1 ^ round1, low0
    return right0, left0, right1, left1


def level(quantile, mean, std):
    """Return the level of one of 65,536 quantiles of a normal distribution."""
    value = NormalDist(mean, std).inv_cdf((quantile + 0.5) / 65536)
    return min(max(round(value), 0), 255)


def noise_value(position, seed, row, part, stream, mean=127.0, std=100.0):
    """Return the noise at one flat position."""
    block, place = divmod(position, 8)
    words = philox4x32((block, part, row, stream), (seed % 2**32, seed // 2**32))
    stretch = sum(word << (32 * i) for i, word in enumerate(words))
    return level((stretch >> (16 * place)) % 2**16, mean, std)


def heatmap(point, image_size, size, sigma, radius):
    """Return one joint's heatmap, pixel by pixel, in float64."""
    height, width = size
    x, y = point[0] * width / image_size[1], point[1] * height / image_size[0]
    out = np.zeros(size)
    for row in range(height):
        for column in range(width):
            across, down = abs(column + 0.5 - x), abs(row + 0.5 - y)
            if across <= radius * sigma and down <= radius * sigma:
                out[row, column] = math.exp(-(across**2 + down**2) / (2 * sigma**2))
    return out


def crc32c(content):
    """Return the Castagnoli checksum, bit by bit (RFC 3720, appendix B.4)."""
    found = 0xFFFFFFFF
    for byte in content:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def masked(checksum):
    """Return a checksum as TFRecord files hold it."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) % 2**32


def records(content, check=True):
    """Return the records of a TFRecord file, each compared with its checksums."""
    found = []
    while content:
        length = int.from_bytes(content[:8], "little")
        data, content = content[12 : 12 + length], (content[:12], content[12 + length :])
        head, rest = content
        assert len(data) == length
        if check:
            assert masked(crc32c(head[:8])) == int.from_bytes(head[8:], "little")
            assert masked(crc32c(data)) == int.from_bytes(rest[:4], "little")
        found.append(data)
        content = rest[4:]
    return found


def message(content):
    """Return the fields of a Protocol Buffers message: pairs of number and value."""
    found, place = [], 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = content[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(content):
        number, kind = divmod(varint(), 8)
        assert kind == 2, "an Example has only messages, bytes and packed numbers"
        length = varint()
        found.append((number, content[place : place + length]))
        place += length
    return found


def example(content):
    """Return a tf.train.Example: by name bytes, floats, or whole numbers."""
    found = {}
    ((_, features),) = message(content)
    for _, entry in message(features):
        (_, name), (_, feature) = message(entry)
        ((kind, values),) = message(feature)
        ((_, packed),) = message(values)
        found[name.decode()] = {1: bytes, 2: _floats, 3: _whole}[kind](packed)
    return found


def _floats(packed):
    return np.frombuffer(packed, "<f4").tolist()


def _whole(packed):
    found, value, shift = [], 0, 0
    for byte in packed:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value - 2**64 if value >= 2**63 else value)
            value = shift = 0
    return found
