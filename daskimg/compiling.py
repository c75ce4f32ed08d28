"""Whether numba's compilation pays, asked again and again while nobody knows what will come."""

from __future__ import annotations


class Rent:
    """Rents until the rent paid is the price: never more than twice the best choice.

    Threads may lose a count; it decides only when a kernel is compiled, and both ways give
    the same bits.

    Parameters
    ----------
    price
        Values after which having compiled would have been the faster way.
    """

    def __init__(self, price: int) -> None:
        self._left = price

    def worth(self, values: int) -> bool:
        """Count ``values`` more, and tell whether so many have come that compiling pays."""
        self._left -= values
        return self._left < 0

    def foresee(self, values: int) -> None:
        """Take note that so many values are to come: if they pay, nothing is rented before."""
        if values > self._left:
            self._left = -1
