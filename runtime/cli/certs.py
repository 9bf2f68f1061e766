"""`godel certs`: an authority and a certificate per service, as files and as Kubernetes Secrets.

DIR/ca.crt and DIR/ca.key are the authority, which is kept when it is there already; DIR/SERVICE
holds tls.crt, tls.key and ca.crt, as a mounted Secret does. Run it again to renew: the services
take the new files at their next connections.
"""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.exits import BAD_INPUT, REFUSED, Stop

DAYS = 365
DAYS_MAX = 1825
SCHEDULERS = 16
NAMESPACE = "godel-system"
NEEDS = "`godel certs` needs the package cryptography: install godel-scheduler[certs]"


@click.command(short_help="Make an authority and certificates for mutual TLS.")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--days",
    default=DAYS,
    show_default=True,
    type=click.IntRange(1, DAYS_MAX),
    help="How long the certificates are valid.",
)
@click.option(
    "--schedulers",
    default=SCHEDULERS,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="The schedulers' certificate names scheduler-0 to the last of so many.",
)
@click.option("--secrets", is_flag=True, help="Print the manifests of the Secrets.")
@click.option("--namespace", default=NAMESPACE, show_default=True, help="Namespace of the Secrets.")
def certs(directory: Path, days: int, schedulers: int, secrets: bool, namespace: str) -> None:
    """Make certificates for dispatcher, binder, scheduler, sharding and client in DIR.

    An authority that is there signs again; without one, a new one is made. Only the owner may read
    the files.
    """
    try:
        from runtime.authority import Authority, BadAuthority
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        raise Stop(REFUSED, NEEDS) from None
    from runtime.issuing import issue, secrets_of

    try:
        authority = Authority.kept_in(directory)
        issued = issue(authority, directory, days, schedulers)
    except BadAuthority as error:
        raise Stop(BAD_INPUT, str(error)) from None
    except OSError as error:
        raise Stop(REFUSED, f"{error.filename}: {error.strerror}") from None
    if secrets:
        click.echo(secrets_of(issued, namespace), nl=False)
        return
    for service in issued:
        click.echo(f"{directory / service}  {', '.join(issued[service].names)}")
