"""Remove from an image the models of AWS's services that no part calls: 20 MB of the 25 MB of botocore.

Run by the Python of the image while it is built. It fails if a client cannot be made of what is left.
"""

import shutil
from pathlib import Path

import boto3
import botocore

# Secrets, files and mails, and what finds credentials: roles (sts), single sign-on, and `aws login` (signin).
NEEDED = ("s3", "secretsmanager", "sesv2", "signin", "sso", "sso-oidc", "sts")


def main() -> None:
    models = Path(botocore.__file__).parent / "data"
    for folder in models.iterdir():
        if folder.is_dir() and folder.name not in NEEDED:
            shutil.rmtree(folder)
    for name in NEEDED:
        boto3.client(name, region_name="eu-central-1")


if __name__ == "__main__":
    main()
