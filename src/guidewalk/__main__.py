"""``python -m guidewalk``."""

import sys

from guidewalk.cli import main

sys.exit(main())
