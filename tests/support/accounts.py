"""Users of this machine, for tests that root runs."""

import os
import pwd

import pytest

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
NOBODY = pwd.getpwnam("nobody")
STRANGER = 54321
