"""Jobs: what the command line does, as a file, and the builder that does it for any region."""

from s2cube.job.builder import DailyBuilder
from s2cube.job.file import DailyJob, read_job

__all__ = ["DailyBuilder", "DailyJob", "read_job"]
