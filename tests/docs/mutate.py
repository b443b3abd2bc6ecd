"""The command behind ``nox -s docs-mutants``."""

import sys
from pathlib import Path

from checks import registry

from guidewalk.mutants.command import Subject, main
from parsec_stack.stack import DOCS
from parsec_stack.verify.parsec_guide import ParsecGuide

if __name__ == "__main__":
    subject = Subject(ParsecGuide(), registry, DOCS, Path(__file__).parent)
    sys.exit(main(subject, sys.argv[1:]))
