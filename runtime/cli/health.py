"""`godel health`: what a service says of itself, for probes on its machine or in its pod."""

from __future__ import annotations

import click

from runtime.cli.exits import BAD_INPUT, REFUSED, Stop

TIMEOUT_SECONDS = 5.0


@click.command()
@click.argument("address")
@click.option("--alive", "is_any_enough", is_flag=True, help="Any answer will do.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT_SECONDS,
    show_default=True,
    help="Seconds to wait; exit code 4 when they are over.",
)
def health(address: str, is_any_enough: bool, timeout: float) -> None:
    """Ask the service at ADDRESS (unix:PATH, or HOST:PORT on loopback) whether it serves.

    A service that is alive but does not serve has cold kernels, or cannot write records.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from runtime.addresses import is_loopback, is_unix
    from runtime.cli.connect import stop_of

    if not is_unix(address) and not is_loopback(address):
        raise Stop(BAD_INPUT, f"{address}: neither unix:PATH nor HOST:PORT on loopback")
    try:
        with grpc.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
    except grpc.RpcError as error:
        raise stop_of(error, address) from None
    click.echo(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
    if reply.status != health_pb2.HealthCheckResponse.SERVING and not is_any_enough:
        raise Stop(REFUSED)
