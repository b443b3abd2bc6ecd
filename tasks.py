"""The tasks: each runs blocks and artifacts of the deployment guide against one stack.

``invoke tls adminToken up migrate bucket`` makes a working server, in this order.
"""

from invoke import Collection

from parsec_stack import session
from parsec_stack.session import stack_task


@stack_task()
def tls(stack):
    """Make the CA, keys and certificates; renew what expires."""
    session.deployment().tls(stack)


@stack_task(aliases=["admin-token"])
def adminToken(stack):  # noqa: N802 - the name that the guide's readers type
    """Generate the administration token and the credentials."""
    session.deployment().credentials(stack)


@stack_task()
def up(stack):
    """Start the services and wait until they are ready."""
    session.deployment().up(stack, wait=session.ends_with("up"))


@stack_task()
def migrate(stack):
    """Bring the database's schema to the server's version."""
    session.deployment().migrate(stack, wait=session.ends_with("migrate"))


@stack_task()
def bucket(stack):
    """Create the bucket with object lock and start the server."""
    session.deployment().bucket(stack)


@stack_task()
def smoke(stack):
    """Use the server as a client does, directly and through the proxy."""
    session.deployment().smoke(stack)


@stack_task()
def ping_mail(stack):
    """Send a mail to the catcher and see it arrive."""
    session.deployment().ping_mail(stack)


@stack_task(help={"name": "letters, digits, - and _; at most 32"})
def organization(stack, name):
    """Create an organization and print its bootstrap link."""
    session.deployment().organization(stack, name)


@stack_task(writes=False, help={"json": "print JSON instead of a table"})
def status(stack, json=False):
    """Show every service: state, health, address, version, certificate."""
    session.deployment().status(stack, as_json=json)


@stack_task(
    writes=False,
    iterable=["service"],
    help={"follow": "keep printing", "service": "only this one; may be repeated"},
)
def logs(stack, service=(), follow=False):
    """Print what the services said."""
    session.deployment().logs(stack, tuple(service), follow=follow)


@stack_task()
def restart(stack):
    """Start the services anew, so that they read their files again."""
    session.deployment().restart(stack)


@stack_task()
def down(stack):
    """Stop the services; data and secrets stay."""
    session.deployment().down(stack)


@stack_task(help={"yes": "do not ask"})
def destroy(stack, yes=False):
    """Stop the services and remove all that this stack has made."""
    session.deployment().destroy(stack, confirmed=yes)


namespace = Collection(
    tls, adminToken, up, migrate, bucket, smoke, ping_mail, organization,
    status, logs, restart, down, destroy,
)  # fmt: skip
