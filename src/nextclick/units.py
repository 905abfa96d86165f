"""Units of time, each with one meaning: times in nextclick are milliseconds since 1970 UTC, if nothing else is said."""

MS_PER_SECOND = 1_000
MS_PER_MINUTE = 60_000
MS_PER_HOUR = 3_600_000
MS_PER_DAY = 86_400_000
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3_600
