"""Teach a small policy on worked solutions of generated problems, and judge it on held-out ones."""
