"""The report: records in, pages out."""
