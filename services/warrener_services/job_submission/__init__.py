"""The program `job_submission`."""
