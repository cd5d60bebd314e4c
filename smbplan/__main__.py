"""`python -m smbplan`"""

from smbplan.cli.main import run

run()
