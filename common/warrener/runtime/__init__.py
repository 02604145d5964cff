"""What every program needs to run: serving, signals, logs."""
