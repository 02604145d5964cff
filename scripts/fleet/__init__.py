"""Private servers for tests and scripts: each in its own folder, on free ports of 127.0.0.1, ended by id."""
