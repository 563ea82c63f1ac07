"""The keys of access tokens: their forms, the ring in its file, and how it turns.

Everything here imports the standard library only, because ``docker compose run keys`` runs it in the image of auth.
"""
