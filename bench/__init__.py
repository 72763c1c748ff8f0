"""`make bench`: how fast the product is next to bare Celery and DBOS, on the same machine and servers.

Reference and product take turns, several rounds each, and medians are compared: other work on the machine
then touches both alike. Nothing here is imported by the product.
"""
