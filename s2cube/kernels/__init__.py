"""Plain arrays in, plain arrays out: no xarray, no Dask, no files."""
