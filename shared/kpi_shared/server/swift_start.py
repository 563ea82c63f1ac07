"""Suspends Python's garbage collection; the program of a part imports it first.

Imports create many objects and next to no garbage: the collections meanwhile take a fifth of the time until a part is
ready. ``freeze_garbage_collector`` resumes them once the application has started, ``runner.main`` for everything else.
"""

import gc

gc.disable()
