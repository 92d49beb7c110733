"""`python -m tests.words`: bring the catalogues up to date (see catalogue.py)."""

import sys

from tests.words.catalogue import main

sys.exit(main())
