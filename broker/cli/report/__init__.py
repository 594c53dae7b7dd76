"""The report of a verification for a judge: one page that prints on A4, in Chinese or English (docs/adr/0053).

``writing`` is what ``verify`` calls. ``page`` needs Jinja2 (extra ``report``), and nothing else here does.
"""
