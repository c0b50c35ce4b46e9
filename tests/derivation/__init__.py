"""The gradient check, the ground-up derivative, and random data."""
