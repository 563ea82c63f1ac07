"""Follows auth's feed of events: what a service needs to refuse revoked tokens, and to report which keys it holds."""
