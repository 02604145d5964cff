"""The program `env_setup`."""
