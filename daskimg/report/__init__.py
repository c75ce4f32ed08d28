"""A run and its store on one page of HTML that needs no network: what came of what was asked."""

from daskimg.report._report import Run, html_path, write_report

__all__ = ["Run", "html_path", "write_report"]
