"""
The official SDKs, each behind the same few questions, so that a test asks all of them alike.

A module for each, in which nothing is changed but the base URL, the key and the name of the model.
"""
