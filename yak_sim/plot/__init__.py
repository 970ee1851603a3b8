"""Plots of a run: data, layout, drawing, descriptions."""
