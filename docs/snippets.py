"""The folder of its own in which the code of each page runs."""

import os
import tempfile

_home, _folder = os.getcwd(), tempfile.TemporaryDirectory()
os.chdir(_folder.name)
