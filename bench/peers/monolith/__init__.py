"""A plain monolith with the platform's API, as good tutorials build it: the benchmark compares the platform with it.

It uses FastAPI and SQLModel as their documentation shows: `def` endpoints in the thread pool, one sync Session for a
request, the default connection pool, JWT (HS256) by PyJWT with the user read for each token, votes counted by a
subquery. Passwords are hashed with the same parameters as the platform's. There is no gateway in front.
"""
