"""Evaluation reports: HTML pages and SVG charts."""
