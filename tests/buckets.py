"""A service that speaks S3, on loopback."""

import contextlib
import urllib.request
from collections.abc import Iterator

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIsecret"}


def environment(address: str) -> dict[str, str]:
    """What a program is told of the service, as usual."""
    return {**KEYS, "AWS_ENDPOINT_URL": address, "AWS_REGION": "eu-central-1"}


@contextlib.contextmanager
def bucket_served() -> Iterator[str]:
    """Serve a bucket named "bucket"; yields the service's address."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    address = f"http://{host}:{port}"
    with urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT")):
        pass
    yield address
    running.stop()
