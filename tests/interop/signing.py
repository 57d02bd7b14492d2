"""What clients of the relay sign, and the signed records that they read: written from proto/PROTOCOL.md, sharing no code
with the relay.

    python3 signing.py [VECTORS]

checks all of it against the test vectors (proto/vectors.json). Prints a line for each that holds, and ends with a code
other than 0 at the first that does not.
"""

import hashlib
import json
import pathlib
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "proto" / "vectors.json"
# DHKEM(X25519, HKDF-SHA256); HKDF-SHA256 with ChaCha20-Poly1305, and with AES-128-GCM.
KEM, SUITES = 0x0020, ((0x0001, 0x0003), (0x0001, 0x0001))


class Deviation(Exception):
    """The relay does something else than the documents say."""


def check(condition, what):
    if not condition:
        raise Deviation(what)


def ok(what):
    print(f"ok {what}", flush=True)


def is_signed(public_key, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u64(number):
    return struct.pack(">Q", number)


# --- requests that are signed --------------------------------------------------------------------------------


class Owner:
    """The holder of an Ed25519 key."""

    def __init__(self, secret_key):
        self.key = Ed25519PrivateKey.from_private_bytes(secret_key)
        self.public_key = self.key.public_key().public_bytes_raw()
        self.guardian_hash = sha256(self.public_key, b"guardians")

    def purge_message(self, purge_token, timestamp):
        return self.public_key + purge_token + u64(timestamp)

    def register_message(self, mailbox_tokens, timestamp):
        return b"vauchi-register-v1" + self.public_key + tokens_digest(mailbox_tokens) + u64(timestamp)

    def guardian_message(self, label, timestamp):
        return label + self.public_key + self.guardian_hash + u64(timestamp)

    def purge(self, recipient_id, purge_token, timestamp):
        """The body of a purge."""
        signature = self.key.sign(self.purge_message(purge_token, timestamp))
        fields = {"recipient_id": recipient_id, "public_key": self.public_key, "purge_token": purge_token}
        return in_hex({**fields, "timestamp": timestamp, "signature": signature})

    def register(self, mailbox_tokens, timestamp):
        """The body of a registration that binds mailboxes to the key."""
        signature = self.key.sign(self.register_message(mailbox_tokens, timestamp))
        fields = {"mailbox_tokens": mailbox_tokens, "public_key": self.public_key}
        return in_hex({**fields, "timestamp": timestamp, "signature": signature})

    def guardians(self, label, timestamp):
        """The body of a change of the guardian set, without entries."""
        signature = self.key.sign(self.guardian_message(label, timestamp))
        fields = {"guardian_hash": self.guardian_hash, "designator_pk": self.public_key}
        return in_hex({**fields, "timestamp": timestamp, "signature": signature})


def tokens_digest(mailbox_tokens):
    return sha256(*sorted(mailbox_tokens))


def in_hex(fields):
    """A body with its bytes as JSON has them."""

    def write(value):
        if isinstance(value, list):
            return [write(entry) for entry in value]
        return value.hex() if isinstance(value, bytes) else value

    return {name: write(value) for name, value in fields.items()}


# --- records that are read -----------------------------------------------------------------------------------


class KeyRecord:
    """The body of /v2/ohttp-key-signed."""

    def __init__(self, body):
        check(len(body) <= 699, "a record has at most 699 bytes")
        version, self.window, length = struct.unpack_from(">BQH", body)
        check(version == 1, f"version {version}")
        rest = body[11:]
        check(len(rest) == length + 64 + 32 + 16 + 64, "a record is as long as it says")
        self.key_configuration, rest = rest[:length], rest[length:]
        self.signature, self.intermediate_key, times = rest[:64], rest[64:96], rest[96:112]
        self.certificate_signature = rest[112:]
        self.not_before, self.not_after = struct.unpack(">QQ", times)
        self.certificate_message = b"vauchi-ohttp-intermediate-v1" + self.intermediate_key + times
        self.message = b"vauchi-ohttp-keyconfig-v1" + u64(self.window) + self.key_configuration

    def verify(self, anchor, now):
        check(self.window == now // 86_400, f"window {self.window}")
        check(self.key_configuration[0] == self.window % 256, "the key id is the window modulo 256")
        check(self.not_before <= now < self.not_after, "the certificate holds now")
        by_anchor = is_signed(anchor, self.certificate_message, self.certificate_signature)
        by_intermediate = is_signed(self.intermediate_key, self.message, self.signature)
        check(by_anchor and by_intermediate, "both signatures hold")


def commitment(backup_key):
    return sha256(b"vauchi-ohttp-backup-anchor-v1", backup_key)


def rollover_message(new_anchor, next_commitment):
    return b"vauchi-ohttp-anchor-rollover-v1" + new_anchor + next_commitment


def follow_rollovers(body, pinned):
    """The anchor and the commitment that a client has after the body of /v2/ohttp-anchor-rollover."""
    count = body[0]
    check(count <= 16 and len(body) == 1 + 129 * count, "rollovers are as long as they say")
    anchor = None
    for at in range(1, len(body), 129):
        record = body[at : at + 129]
        new_anchor, next_commitment = record[1:33], record[33:65]
        if commitment(new_anchor) != pinned:
            continue
        check(record[0] == 1, f"version {record[0]}")
        check(is_signed(new_anchor, rollover_message(new_anchor, next_commitment), record[65:]), "the rollover is signed")
        anchor, pinned = new_anchor, next_commitment
    check(anchor is not None, "a rollover follows from the commitment")
    return anchor, pinned


def hints_message(hints):
    parts = ((bytes.fromhex(hint["blob_id"]), hint["relay_url"].encode(), u64(hint["expires_at_secs"])) for hint in hints)
    return b"".join(b"".join(part) for part in parts)


# --- the vectors ---------------------------------------------------------------------------------------------


class Vector:
    """One of the vectors. Text is hex, unless it is read as it stands from `raw`."""

    def __init__(self, vectors, name):
        self.name, self.raw = name, vectors[name]

    def __getitem__(self, field):
        value = self.raw[field]
        if isinstance(value, list):
            return [bytes.fromhex(entry) for entry in value]
        return bytes.fromhex(value) if isinstance(value, str) else value

    def expect(self, field, computed):
        check(self[field] == computed, f"vector {self.name}: {field}")

    def expect_signed(self, key, message):
        self.expect("signed_bytes", message)
        self.expect("signature", key.sign(message))


def check_purge(vector):
    owner = Owner(vector["secret_key"])
    vector.expect("public_key", owner.public_key)
    vector.expect_signed(owner.key, owner.purge_message(vector["purge_token"], vector["timestamp"]))


def check_register(vector):
    owner = Owner(vector["secret_key"])
    vector.expect("public_key", owner.public_key)
    vector.expect("tokens_digest", tokens_digest(vector["mailbox_tokens"]))
    vector.expect_signed(owner.key, owner.register_message(vector["mailbox_tokens"], vector["timestamp"]))


def check_guardian(label):
    def check_it(vector):
        owner = Owner(vector["secret_key"])
        vector.expect("designator_pk", owner.public_key)
        vector.expect("guardian_hash", owner.guardian_hash)
        vector.expect_signed(owner.key, owner.guardian_message(label, vector["timestamp"]))

    return check_it


def key_configuration(window, seed):
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
    public_key = suite.kem.derive_key_pair(seed).public_key.to_public_bytes()
    suites = b"".join(struct.pack(">HH", *pair) for pair in SUITES)
    return struct.pack(">BH", window % 256, KEM) + public_key + struct.pack(">H", len(suites)) + suites


def check_key_record(vector):
    anchor, intermediate = Owner(vector["anchor_secret_key"]), Owner(vector["intermediate_secret_key"])
    vector.expect("anchor", anchor.public_key)
    vector.expect("intermediate_key", intermediate.public_key)
    vector.expect("key_configuration", key_configuration(vector["window"], vector["window_seed"]))
    record = KeyRecord(vector["record"])
    for field in ("window", "key_configuration", "intermediate_key", "not_before", "not_after"):
        vector.expect(field, getattr(record, field))
    vector.expect("certificate_signed_bytes", record.certificate_message)
    vector.expect("certificate_signature", anchor.key.sign(record.certificate_message))
    vector.expect("certificate_signature", record.certificate_signature)
    vector.expect_signed(intermediate.key, record.message)
    vector.expect("signature", record.signature)
    record.verify(anchor.public_key, record.window * 86_400)


def check_rollover(vector):
    new_anchor = Owner(vector["secret_key"])
    vector.expect("new_anchor", new_anchor.public_key)
    vector.expect("commitment", commitment(new_anchor.public_key))
    vector.expect("next_commitment", commitment(vector["next_backup_key"]))
    vector.expect_signed(new_anchor.key, rollover_message(new_anchor.public_key, vector["next_commitment"]))
    record = b"\x01" + new_anchor.public_key + vector["next_commitment"] + vector["signature"]
    vector.expect("record", record)
    vector.expect("body", b"\x01" + record)
    reached = follow_rollovers(vector["body"], vector["commitment"])
    check(reached == (new_anchor.public_key, vector["next_commitment"]), "where a client arrives")


def check_hints(vector):
    relay = Owner(vector["secret_key"])
    vector.expect("relay_signing_key", relay.public_key)
    hints = vector.raw["hints"]
    check(hints == sorted(hints, key=lambda hint: hint["blob_id"]), "hints are sorted")
    vector.expect_signed(relay.key, hints_message(hints))


def check_blob(vector):
    vector.expect("mailbox_hash", sha256(b"vauchi-relay/mailbox/v1\0", vector["mailbox_token"]))
    blob_id = sha256(b"vauchi-relay/blob/v1\0", vector["mailbox_hash"], vector["ciphertext"])[:16]
    vector.expect("blob_id", blob_id)


CHECKS = {
    "purge": check_purge,
    "register": check_register,
    "guardian_store": check_guardian(b"guardian-store"),
    "guardian_delete": check_guardian(b"guardian-delete"),
    "key_record": check_key_record,
    "rollover": check_rollover,
    "hints": check_hints,
    "blob": check_blob,
}


def check_vectors(path=VECTORS):
    """Proves this client by the vectors before it proves the relay."""
    vectors = json.loads(pathlib.Path(path).read_text())
    check(set(vectors) == set(CHECKS), "the vectors that this client knows")
    for name, check_it in CHECKS.items():
        check_it(Vector(vectors, name))
        ok(f"vector {name}")


if __name__ == "__main__":
    try:
        check_vectors(*sys.argv[1:])
    except Deviation as deviation:
        sys.exit(f"DEVIATION: {deviation}")
