"""Encrypt a value, and change the key while older values stay readable."""

import asyncio

from kpi_kit.crypt import Crypt, InvalidCiphertextError, generate_key


async def main() -> None:
    old, new = generate_key(), generate_key()
    # What the value belongs to, so that no other row's value can be put in its place.
    where = b"users.phone:42"
    stored = Crypt({"2025": old}).encrypt_json({"phone": "+41 44 668 18 00"}, associated_data=where)
    # A service has the keys in its settings: Crypt(settings.crypt_keys).
    async with Crypt({"2026": new, "2025": old}) as crypt:
        if crypt.needs_reencryption(stored):
            stored = crypt.reencrypt(stored, associated_data=where)
            print("encrypted with the new key")
    async with Crypt({"2026": new}) as crypt:
        print("decrypted:", crypt.decrypt_json(stored, associated_data=where))
        try:
            crypt.decrypt(stored, associated_data=b"users.phone:43")
        except InvalidCiphertextError as error:
            print("of another row:", error)


if __name__ == "__main__":
    asyncio.run(main())
