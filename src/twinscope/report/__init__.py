"""The report: one HTML file that makes no request, and a table beside it."""
