"""`python -m bitrix_app` is the same as `unitalk-bitrix24`."""

from bitrix_app.cli import main

main()
