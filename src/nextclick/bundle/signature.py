"""Who made a bundle: an Ed25519 signature (RFC 8032) of its manifest, which holds the hash of every file.

NEXTCLICK_SIGNING_KEY, the file of a private key, signs what is bundled. If NEXTCLICK_TRUSTED_KEY, the file of its
public key, is set, nothing else is loaded. A key gives a manifest one signature, so a signed bundle is as reproducible
as an unsigned one.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from nextclick.errors import InputError
from nextclick.settings import SigningSettings

SIGNING_KEY, TRUSTED_KEY = "NEXTCLICK_SIGNING_KEY", "NEXTCLICK_TRUSTED_KEY"
SIGNATURE = "manifest.sig"


def sign(folder: Path) -> None:
    """Write the signature beside the manifest if NEXTCLICK_SIGNING_KEY is set. Raises InputError for a wrong key."""
    if not (path := SigningSettings.read().signing_key):
        return
    try:
        key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{SIGNING_KEY}={path}: no private key in PEM, without a password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{SIGNING_KEY}={path}: expected an Ed25519 key")
    (folder / SIGNATURE).write_bytes(key.sign((folder / "manifest.json").read_bytes()))


def verify(folder: Path, manifest: bytes) -> None:
    """Raises InputError unless the trusted key signed the manifest; without NEXTCLICK_TRUSTED_KEY it accepts all."""
    if not (path := SigningSettings.read().trusted_key):
        return
    try:
        key = load_pem_public_key(Path(path).read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{TRUSTED_KEY}={path}: no public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{TRUSTED_KEY}={path}: expected an Ed25519 key")
    try:
        key.verify((folder / SIGNATURE).read_bytes(), manifest)
    except OSError as error:
        raise InputError(f"{folder}: not signed, and {TRUSTED_KEY} asks for it: {error}") from error
    except InvalidSignature as error:
        raise InputError(f"{folder / SIGNATURE}: not the signature of this manifest by {TRUSTED_KEY}") from error
