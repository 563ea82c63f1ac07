"""The content type of a file by its first bytes: what a client says of it is not evidence."""

IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
UNKNOWN = "application/octet-stream"
# How many bytes are looked at.
LOOKED_AT = 16

# Only beginnings of at least three bytes that no text has by chance.
_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"%PDF-": "application/pdf",
    b"PK\x03\x04": "application/zip",
    b"\x1f\x8b\x08": "application/gzip",
    b"7z\xbc\xaf\x27\x1c": "application/x-7z-compressed",
    b"\xfd7zXZ\x00": "application/x-xz",
    b"\x28\xb5\x2f\xfd": "application/zstd",
    b"OggS\x00": "application/ogg",
    b"fLaC\x00": "audio/flac",
    b"\x1a\x45\xdf\xa3": "video/webm",
    b"wOF2\x00\x01\x00\x00": "font/woff2",
    b"\x00asm\x01\x00\x00\x00": "application/wasm",
}
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
# The brand of a file of ISO's base media format.
_BRANDS = {
    b"avif": "image/avif",
    b"heic": "image/heic",
    b"isom": "video/mp4",
    b"iso2": "video/mp4",
    b"mp41": "video/mp4",
    b"mp42": "video/mp4",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
}


def sniff(beginning: bytes) -> str:
    """The type of the formats that are distinguished; anything else, SVG and HTML too, is ``UNKNOWN``.

    So nothing that a browser would run is ever served as what it is.
    """
    if beginning[:4] == b"RIFF":
        return _RIFF.get(beginning[8:12], UNKNOWN)
    if beginning[4:8] == b"ftyp":
        return _BRANDS.get(beginning[8:12], UNKNOWN)
    return next((name for start, name in _BEGINNINGS.items() if beginning.startswith(start)), UNKNOWN)
