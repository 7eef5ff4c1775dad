"""Cubes from ClearSKY Vision."""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import harmonize, schema
from s2cube.blocks import map_pixels, read_blocks
from s2cube.errors import CubeError
from s2cube.schema import NODATA, PROVENANCE, SCALE, STATUS, Provenance, Status
from s2cube.sources.assemble import CHUNKS, check_chunks
from s2cube.sources.clearsky.opening import Opening, Product, prepare
from s2cube.sources.clearsky.read import Reader
from s2cube.sources.clearsky.request import index_parts
from s2cube.sources.reader import OnReadError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["open_clearsky"]

INDEX_SCALE: Final = 32767
"""Counts of an index of 1."""


def open_clearsky(
    *,
    bbox: Sequence[float] | None = None,
    geometry: Any = None,
    geobox: "GeoBox | None" = None,
    datetime: Any,
    bands: str | Iterable[str] = "all",
    resolution: int | None = None,
    crs: Any = None,
    model: str = "Stratus2",
    constellations: Sequence[str] | None = None,
    product: Product = "auto",
    api_key: str | None = None,
    base_url: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    chunks: Mapping[str, int] | None = CHUNKS,
    on_read_error: OnReadError = "raise",
) -> xr.Dataset:
    """Open cloudless imagery of ClearSKY Vision as a cube, lazily: nothing is downloaded, nothing costs.

    Opening asks the service what there is. A date is downloaded when one of its blocks is computed,
    once: downloads are kept on disk and used by all threads, processes and later runs.
    :func:`estimate_clearsky` tells with the same arguments what computing will cost.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees.
    geometry
        GeoJSON or shapely geometry in degrees; the cube covers (and you pay for) its bounding box.
    geobox
        The exact grid, instead of area, resolution and CRS: that of a Sentinel-2 cube, for instance.
        Square pixels of a size the service has, edges on multiples of it.
    datetime
        ``"2024-05-03"``, ``"2024-05"``, ``"2024-05-01/2024-06-15"`` or a pair; both ends included.
    bands
        ``"all"``, or ids, common names and normalized differences (``"[B8_B4]"``).
    resolution
        Pixel size, m: 10 (the default), 20, 40, 80, 160, 320, 640 or 1280.
    crs
        A projected one in metres. By default, the UTM zone of the middle of the area (by longitude
        alone). Pixel edges are multiples of the resolution.
    model
        Of the service; ``GET /api/tasking/models`` lists them.
    constellations
        ``["Sentinel1", "Sentinel2", "Landsat89"]`` or fewer. By default, those with which your imagery
        of `model` was made; where there is more than one choice, an error asks.
    product
        ``"composite"``: just the area. ``"tile"``, ``"minitile"``: all that the tiles hold, which other
        areas then share. ``"auto"``: composite up to 262 km² (a tenth of a tile), above that tiles,
        where there are some on this grid and no index is asked for. ``"tile2024"``: tiles of the
        service of early 2024, fetched by signed links.
    api_key
        By default, that of the environment variable ``CLEARSKY_API_KEY``. It is in no graph, file or
        message; workers of the Dask client that is there now are told. Its scheduler then holds it, so
        whoever else may use that cluster can read it: on one that is shared, set the variable.
    base_url
        Of the service.
    cache
        Folder of the downloads. By default, in the user's cache folder. On a cluster, one that all
        workers see. What it holds of an area and bands serves smaller areas and fewer bands, too.
    chunks
        Dask chunks; None downloads and reads everything now.
    on_read_error
        ``"raise"``, or ``"mark"``: what could not be downloaded for passing reasons becomes
        ``read_failed`` in ``status``. A refusal (key, credits, order) raises always.

    Returns
    -------
    xarray.Dataset
        A cube: float32 reflectance, indices (float32, -1 to 1, named ``"B08_B04"``), ``status`` (uint8:
        clear, no data, unread), ``provenance`` (uint8: predicted by a network, 255 where there is
        nothing). ``time`` is the date at 00:00, ``sensor`` is ``"clearsky"``. Dates of the period for
        which the service has no imagery of the whole area are in the attribute ``missing_dates``, but
        not those that turn out to have none when they are computed.

    Raises
    ------
    CubeError
        An argument is wrong, or the service cannot deliver this grid.
    CatalogError
        There is no imagery, or none of this model.
    ServiceError
        The service refuses: the key, the request; on computing, also the credits or the order.
    ReadError
        The service cannot be reached; on computing, an image did not come whole.
    StoreError
        On computing: `cache` cannot be written, has no room, or is not seen by all workers.

    Notes
    -----
    Reflectance is level 2A, harmonized by the service to the processing baselines before 04.00: no
    offset is added. Open water is no data. The service lists its B8 at 732 nm; Sentinel-2's B08 is at
    833 nm.

    A download that breaks off, or for which a gateway answers (5xx but 503), may have been counted: it
    is asked for once more. Then it fails, and is not asked for again for a day, whatever runs over it;
    the error names the note to remove for that. A date that turns out to have no imagery when it is
    computed is no data, and asked for again after an hour, or by another process.

    Examples
    --------
    >>> import tempfile
    >>> import s2cube
    >>> from s2cube.sources.clearsky import open_clearsky
    >>> imagery = s2cube.testing.simulate_cube(shape=(16, 16), bands=["red"], end="2021-06-10")
    >>> with s2cube.testing.ClearSkyStandIn(imagery, key="k") as service:
    ...     cube = open_clearsky(
    ...         geobox=s2cube.schema.geobox_of(imagery),
    ...         datetime="2021-06",
    ...         bands=["red"],
    ...         api_key="k",
    ...         base_url=service.url,  # without it, the real service
    ...         cache=tempfile.mkdtemp(),
    ...     ).compute()
    >>> cube["time"].dt.day.values.tolist(), int((cube["status"] == 0).sum())
    ([1, 8], 512)
    """
    check_chunks(chunks)
    if on_read_error not in ("raise", "mark"):
        raise CubeError(f"on_read_error is 'raise' or 'mark', got {on_read_error!r}.")
    opening = prepare(
        bbox=bbox,
        geometry=geometry,
        geobox=geobox,
        datetime=datetime,
        bands=bands,
        resolution=resolution,
        crs=crs,
        model=model,
        constellations=constellations,
        product=product,
        api_key=api_key,
        base_url=base_url,
        cache=cache,
    )
    return _cube(opening, chunks, on_read_error)


def _cube(opening: Opening, chunks: Mapping[str, int] | None, on_read_error: OnReadError) -> xr.Dataset:
    grid, order = opening.plan.grid, opening.plan.outputs
    reader = Reader(opening.plan, opening.dates, opening.service, opening.cache, on_read_error)
    sizes = (
        None if chunks is None else (chunks.get("time", 1), -1, chunks.get("y", -1), chunks.get("x", -1))
    )
    shape = (len(opening.dates), len(order) + 1, *grid.shape)
    counts = read_blocks(reader, shape, chunks=sizes, dtype=np.int16)
    layers = {name: counts[:, number] for number, name in enumerate(order)}
    bands = [name for name in opening.names if name in schema.BANDS]
    status = map_pixels(_status, counts[:, -1], *(layers[band] for band in bands), dtype=np.uint8)
    arrays: dict[Hashable, xr.Variable] = {
        name: harmonize.reflectance(layers[name], name, nodata=NODATA, scale=SCALE)
        if name in schema.BANDS
        else schema.variable(map_pixels(_index, layers[name], dtype=np.float32), _index_attrs(name))
        for name in opening.names
    }
    arrays[STATUS] = schema.variable(status, schema.status_attrs())
    arrays[PROVENANCE] = schema.variable(
        map_pixels(_provenance, status, dtype=np.uint8),
        schema.flag_attrs(Provenance, "where the value comes from"),
    )
    made_by = opening.model or opening.product
    told = {
        "platform": None,
        "product": opening.product,
        "model": opening.model or None,
        "constellations": list(opening.constellations),
        "offset": dict.fromkeys(bands, 0.0),
    }
    records = [[{"id": f"clearsky-{made_by}-{date}", **told}] for date in opening.dates]
    cube = xr.Dataset(
        arrays,
        {
            **schema.grid_coords(grid),
            "time": ("time", np.array(opening.dates, dtype="datetime64[ns]")),
            schema.ITEMS: schema.item_records(records),
            "sensor": "clearsky",
            "processing_level": "L2A",
        },
        {"missing_dates": " ".join(opening.missing)},
    )
    cube = schema.record(
        cube,
        "open_clearsky",
        dates=len(opening.dates),
        datetime=f"{opening.dates[0]} to {opening.dates[-1]}",
        grid=f"{grid.shape.y} x {grid.shape.x} px of {abs(grid.transform.a):g} in {grid.crs} "
        f"from {grid.transform.c:.9g}, {grid.transform.f:.9g}",
        bands=list(opening.names),
        product=opening.product,
        model=opening.model,
        constellations=list(opening.constellations),
        on_read_error=on_read_error,
    )
    return schema.validate(cube)


def _status(failed: NDArray[np.int16], *bands: NDArray[np.int16]) -> NDArray[np.uint8]:
    missing = np.zeros(failed.shape, dtype=bool)
    for band in bands:
        missing |= band == NODATA
    seen = np.where(missing, np.uint8(Status.NO_DATA), np.uint8(Status.CLEAR))
    return np.where(failed != 0, np.uint8(Status.READ_FAILED), seen)


def _provenance(status: NDArray[np.uint8]) -> NDArray[np.uint8]:
    there = status == Status.CLEAR
    return np.where(there, np.uint8(Provenance.NETWORK), np.uint8(Provenance.NEVER_OBSERVED))


def _index(counts: NDArray[np.int16]) -> NDArray[np.float32]:
    values = counts.astype(np.float32) / np.float32(INDEX_SCALE)
    return np.where(counts == NODATA, np.float32(np.nan), values)


def _index_attrs(name: str) -> dict[str, Any]:
    one, other = index_parts(name) or ("", "")
    return {"long_name": f"({one} - {other}) / ({one} + {other})", "units": "1"}
