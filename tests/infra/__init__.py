"""Tests of infra/: each file is read or run by the program that it is for."""
