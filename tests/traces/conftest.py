collect_ignore_glob = ["*.py"]  # no doctests here, and two of the files need torch
