"""Rows for a database of development: ``python -m kpi_<part> seed``, and what the seeders of the services share.

A service has ``seeding/`` with a module for each noun, which is found by its name::

    AFTER = ("authors",)         # what must be there first, if the service has a seeder of that name
    NOTE = "a sentence"          # printed after the run, such as a password
    async def seed(connection: AsyncConnection, *, count: int) -> int: ...

``seed`` brings its table to ``count`` rows and returns how many it has added, so that a second run adds none.
"""
