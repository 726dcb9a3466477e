"""The names that a person types: aliases, and how long a reason may be; nothing heavy is imported."""

CHAMPION = "champion"
CHALLENGER = "challenger"
# A server's database takes 5,000 characters for all that is told of an event.
MAX_REASON = 1000
