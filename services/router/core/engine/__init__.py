"""
The route engine: which way a request takes through a dynamic route. Pure.

`compiled` makes a route of its elements; `steps.step` goes on by one event and says what is wanted next.
"""
