collect_ignore_glob = ["*.py"]  # no doctests here, and some of the files need torch
