"""Tasks for a Parsec server: each runs the deployment guide's own blocks. See ``invoke --list``."""

from parsec_stack.session import following_tasks, stack_task


@stack_task()
def tls(stack):
    """Make the CA, keys and certificates; renew what expires."""
    from parsec_stack import deployment

    deployment.tls(stack)


@stack_task(aliases=["admin-token"])
def adminToken(stack):
    """Generate the administration token and the credentials."""
    from parsec_stack import deployment

    deployment.credentials(stack)
