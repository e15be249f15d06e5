"""Reports for people, as Markdown, HTML, SVG and JSON: of incidents, their reviews and maintenance windows. Pure."""
