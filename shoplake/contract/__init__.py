"""The event contract and the tables' contracts: each schema stands here once, and is rendered everywhere else."""
