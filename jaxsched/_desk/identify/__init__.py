"""The schedule that gives every row of a log: one reader for each kind of curve."""
