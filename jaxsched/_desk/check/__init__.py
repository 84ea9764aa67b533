"""What is wrong with a schedule, found before training."""
