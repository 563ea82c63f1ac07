"""The drill: six processes under steady load, one fault at a time, and a checker of every acknowledged write."""
