"""What every page of ours that is kept as a file begins with: it may load and run nothing, wherever it is opened. Pure."""

from __future__ import annotations

import base64
import hashlib

from .plots import escaped


def head(title: str, style: str) -> str:
    """Up to and without <body>. The policy lets a browser load and run nothing but this one style."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escaped(title)}</title><style>{style}</style></head>"
    )
