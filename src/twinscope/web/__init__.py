"""The review desk: a web app in which editors screen manuscripts, look at findings, decide, and export."""
