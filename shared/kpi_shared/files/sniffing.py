"""The media type of a file by its first bytes: what a client says of it is not evidence."""

IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
UNKNOWN = "application/octet-stream"
# How many bytes are looked at.
LOOKED_AT = 16

_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"\x1f\x8b\x08": "application/gzip",
}


def sniff(beginning: bytes) -> str:
    """The type of the few formats that are distinguished; anything else, SVG and HTML too, is bytes."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    return next((name for start, name in _BEGINNINGS.items() if beginning.startswith(start)), UNKNOWN)
