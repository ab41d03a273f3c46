"""The scheduler: takes submitted jobs, has them decided, gives them to workers and watches them to their end."""
