"""A table of image paths becomes ordered, fixed-size training arrays in sharded Zarr."""
