"""``site/``: the board as static pages that work from a file, without network and without JavaScript.

Everything that comes from a record passes through Jinja2's autoescaping; the pages' Content-Security-Policy forbids
whatever they do not need.
"""
