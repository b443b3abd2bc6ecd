"""``invoke doctor``: what is wrong with a stack, and what to do about it, most hurtful first."""
