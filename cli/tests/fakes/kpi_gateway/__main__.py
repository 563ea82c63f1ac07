"""The stand-in as a program."""

from fake_part import main

main("gateway")
