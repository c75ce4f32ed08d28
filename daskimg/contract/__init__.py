"""A test for users' own transforms: whether they keep what every transform promises.

Not used by a build. It is meant to be called in the tests of whoever writes a transform::

    def test_my_transform_keeps_the_contract():
        daskimg.check_transform(MyTransform(strength=3))
"""

from daskimg.contract._check import check_transform

__all__ = ["check_transform"]
