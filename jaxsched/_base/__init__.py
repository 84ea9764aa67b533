"""What a schedule is: checked arguments, the arithmetic of the formulas, tables, calls."""
