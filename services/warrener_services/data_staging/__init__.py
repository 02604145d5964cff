"""The program `data_staging`."""
