"""`python -m bitrix_app.sandbox`: the sandbox portal and PBX alone, to practise the set-up."""

import sys

from bitrix_app.sandbox.practice import main

sys.exit(main())
