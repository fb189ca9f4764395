"""Wire formats and the translation between them: bytes in, bytes out, no I/O."""

from __future__ import annotations
