"""The stand-in as a program, for a service that the platform does not have."""

from fake_part import main

main("billing")
