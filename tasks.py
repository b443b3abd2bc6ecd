"""The tasks: each runs blocks and artifacts of the deployment guide against one stack.

``invoke tls adminToken up migrate bucket``, in this order, makes a working server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke import Collection, Exit

from parsec_stack import task_line
from parsec_stack.task_line import project_task, stack_task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parsec_stack.stack import Stack

# These wait for the services themselves, so the tasks before them on the line need not.
AWAITING = ("migrate", "bucket")
# How `invoke check` ends if a block is missing, as check-objects.py does, and `invoke doctor` if
# anything is wrong.
INCOMPLETE = 3


@stack_task(creates=True)
def tls(stack: Stack) -> None:
    """Make the CA, keys and certificates; renew what expires."""
    from parsec_stack import deployment

    deployment.tls(stack)


@stack_task(aliases=["admin-token"], creates=True)
def adminToken(stack: Stack) -> None:
    """Generate the administration token and the credentials."""
    from parsec_stack import deployment

    deployment.credentials(stack)


@stack_task()
def up(stack: Stack) -> None:
    """Start the services and wait until they are ready."""
    from parsec_stack import deployment

    deployment.up(stack, wait=not task_line.is_followed("up", AWAITING))


@stack_task()
def migrate(stack: Stack) -> None:
    """Bring the database's schema to the server's version."""
    from parsec_stack import deployment

    deployment.migrate(stack, wait=not task_line.is_followed("migrate", AWAITING))


@stack_task()
def bucket(stack: Stack) -> None:
    """Create the bucket with object lock and start the server."""
    from parsec_stack import deployment

    deployment.bucket(stack)


@stack_task()
def smoke(stack: Stack) -> None:
    """Use the server as a client does, directly and through the proxy."""
    from parsec_stack import deployment

    deployment.smoke(stack)


@stack_task()
def ping_mail(stack: Stack) -> None:
    """Send a mail to the mail catcher and check that it arrives."""
    from parsec_stack import deployment

    deployment.ping_mail(stack)


@stack_task(help={"name": "letters, digits, - and _; at most 32"})
def organization(stack: Stack, name: str) -> None:
    """Create an organization and print its bootstrap link."""
    from parsec_stack import deployment

    deployment.organization(stack, name)


@stack_task(writes=False, help={"json": "print JSON instead of a table"})
def status(stack: Stack, json: bool = False) -> None:
    """Show every service: state, health, address, version, certificate; and the last backup."""
    from parsec_stack import backups, deployment

    deployment.status(stack, as_json=json)
    if not json:
        backups.tell_age(stack)


@stack_task(help={"content": "read every object", "json": "print JSON, one object a line"})
def check(stack: Stack, content: bool = False, json: bool = False) -> None:
    """Compare database and objects; 3 is the status if a block is missing or damaged."""
    from parsec_stack import deployment

    if not deployment.check(stack, content=content, as_json=json):
        raise Exit(code=INCOMPLETE)


@stack_task(
    writes=False,
    help={
        "json": "print JSON",
        "report": "print a report without secrets, for others",
        "mail": "let the server send a mail to its own address",
    },
)
def doctor(stack: Stack, json: bool = False, report: bool = False, mail: bool = False) -> None:
    """Say what is wrong and what to do; 3 is the status if anything is."""
    from parsec_stack.doctor import visit

    if not visit.run(stack, as_json=json, as_report=report, mail=mail):
        raise Exit(code=INCOMPLETE)


@stack_task(
    writes=False,
    iterable=["service"],
    help={"follow": "keep printing", "service": "only this one; may be repeated"},
)
def logs(stack: Stack, service: Sequence[str] | None = None, follow: bool = False) -> None:
    """Print the services' logs."""
    from parsec_stack import deployment

    deployment.logs(stack, tuple(service or ()), follow=follow)


@stack_task()
def restart(stack: Stack) -> None:
    """Restart the services, so that they read their files again."""
    from parsec_stack import deployment

    deployment.restart(stack)


@stack_task()
def backup(stack: Stack) -> None:
    """Copy database, objects, keys and settings while the server works."""
    from parsec_stack import backups

    backups.backup(stack)


@stack_task(
    creates=True,
    help={
        "set": "the name of the backup; the newest by default",
        "target": "in a new folder: where the backups are",
        "key": "in a new folder: the file with the key of the backups",
        "yes": "do not ask",
    },
)
def restore(
    stack: Stack, set: str = "newest", target: str = "", key: str = "", yes: bool = False
) -> None:
    """Bring everything back from a backup, here or in a new folder."""
    from parsec_stack import backups

    backups.restore(stack, set, target=target, key=key, confirmed=yes)


@stack_task(help={"set": "the name of the backup; the newest by default"})
def drill(stack: Stack, set: str = "newest") -> None:
    """Restore a backup beside the stack, read it as a client, remove it."""
    from parsec_stack import drill

    drill.run(stack, set)


@stack_task(stops=True)
def down(stack: Stack) -> None:
    """Stop the services; data and secrets stay."""
    from parsec_stack import deployment

    deployment.down(stack)


@stack_task(stops=True, help={"yes": "do not ask"})
def destroy(stack: Stack, yes: bool = False) -> None:
    """Stop the services and remove everything that this stack has made."""
    from parsec_stack import deployment

    deployment.destroy(stack, confirmed=yes)


@project_task(help={"minio": "MinIO's too", "force": "also those that were pulled"})
def images(minio: bool = False, force: bool = False) -> None:
    """Build the docker flavour's images from packages, without a registry."""
    from parsec_stack import images as builder

    builder.build(minio=minio, force=force)


@project_task()
def bundle() -> None:
    """Write images, wheels and guide into one archive, for a machine without a network."""
    from parsec_stack import bundle as archive

    archive.write()


@project_task(help={"version": "such as 3.7.0 or 3.7.0-rc.2", "python": "the Python that it needs"})
def bump(version: str, python: str | None = None) -> None:
    """Change the version of Parsec everywhere, and print what to review."""
    from parsec_stack import bump as versions

    versions.bump(version, python)


namespace = Collection(
    tls, adminToken, up, migrate, bucket, smoke, ping_mail, organization,
    status, check, doctor, logs, restart, backup, restore, drill, down, destroy,
    images, bundle, bump,
)  # fmt: skip
