"""The command ``yak doctor``: find what is wrong in a set-up, before or while it runs."""
