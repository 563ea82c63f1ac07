"""The plain monolith that a good tutorial gives for the platform's API: what the benchmark holds the platform against.

FastAPI with SQLModel as their own documentations show them: `def` endpoints in the thread pool, one sync Session for a
request, the default connection pool, JWT (HS256) by PyJWT with the user read for each token, votes counted by a
subquery. Passwords are hashed with the same parameters as the platform's. There is no gateway in front.
"""
