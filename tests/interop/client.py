"""A client of the relay that shares no code with it: Oblivious HTTP (RFC 9458) by hand over pyhpke, Binary HTTP
(RFC 9292) by hand, and in signing.py what is signed, which it checks against the test vectors first.

    python3 client.py http://127.0.0.1:8080 ANCHOR_HEX

Prints a line for each thing that is as the documents say, and ends with a code other than 0 at the first that is
not.
"""

import base64
import hashlib
import http.client
import json
import os
import struct
import sys
import time
import urllib.parse

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, KEMKeyPair

from signing import Deviation, KeyRecord, Owner, check, check_vectors, ok

KEM_X25519 = 0x0020
KDF_SHA256 = 0x0001
NONCE_BYTES = 12
# By AEAD id: pyhpke's name, bytes of a key, what opens a message.
AEADS = {
    0x0001: (AEADId.AES128_GCM, 16, AESGCM),
    0x0003: (AEADId.CHACHA20_POLY1305, 32, ChaCha20Poly1305),
}
HIGHEST_RUNG = 98_304


# --- plain HTTP ---------------------------------------------------------------------------------------------


class Relay:
    """A relay's main port."""

    def __init__(self, url):
        self.host = urllib.parse.urlsplit(url).netloc

    def ask(self, method, path, body=None, content_type=None):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path, body, {"content-type": content_type} if content_type else {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()


# --- keys (RFC 9458, section 3) -----------------------------------------------------------------------------


class KeyConfig:
    """One key configuration."""

    def __init__(self, data):
        check(len(data) >= 41, "a key configuration has an id, a KEM, a key and a suite")
        self.key_id, kem = struct.unpack_from(">BH", data)
        check(kem == KEM_X25519, f"KEM {kem:#06x}")
        self.public_key = data[3:35]
        (length,) = struct.unpack_from(">H", data, 35)
        check(length % 4 == 0 and 37 + length == len(data), "suites are as long as they say")
        self.suites = [struct.unpack_from(">HH", data, at) for at in range(37, len(data), 4)]
        self.data = data


def fetch_key(relay):
    status, headers, body = relay.ask("GET", "/v2/ohttp-key")
    check(status == 200, f"a key, not {status}")
    check(headers["content-type"] == "application/ohttp-keys", "content type of the key")
    check(headers["key-fingerprint"] == hashlib.sha256(body).hexdigest(), "fingerprint of the key")
    config = KeyConfig(body)
    check(config.suites[0] == (KDF_SHA256, 0x0003), "ChaCha20-Poly1305 comes first")
    ok(f"key {config.key_id} with {len(config.suites)} suites")

    status, _, listed = relay.ask("GET", "/.well-known/ohttp-gateway")
    check(status == 200, f"a list of keys, not {status}")
    check(listed == struct.pack(">H", len(body)) + body, "the list holds the same key behind its length")
    ok("list of keys")
    return config


def verify_signed_key(relay, config, anchor):
    status, headers, body = relay.ask("GET", "/v2/ohttp-key-signed")
    check(status == 200, f"a signed key, not {status}")
    check(headers["content-type"] == "application/vnd.vauchi.ohttp-key-signed", "content type of the record")
    record = KeyRecord(body)
    check(record.key_configuration == config.data, "the signed key is the one that is shown")
    record.verify(anchor, int(time.time()))
    ok("signed key")


# --- sealing (RFC 9458, section 4) --------------------------------------------------------------------------


def hkdf_extract(salt, secret):
    extract = hmac.HMAC(salt, hashes.SHA256())
    extract.update(secret)
    return extract.finalize()


def hkdf_expand(key, info, length):
    return HKDFExpand(hashes.SHA256(), length, info).derive(key)


def encapsulate(config, aead, plaintext, ephemeral=None):
    """Seals a plaintext; gives the message and what opens the answer."""
    name, _, _ = AEADS[aead]
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, name)
    header = struct.pack(">BHHH", config.key_id, KEM_X25519, KDF_SHA256, aead)
    public_key = suite.kem.deserialize_public_key(config.public_key)
    info = b"message/bhttp request\x00" + header
    pair = ephemeral and KEMKeyPair(*(read(ephemeral) for read in (private_key, matching_public_key)))
    enc, context = suite.create_sender_context(public_key, info=info, eks=pair)
    return header + enc + context.seal(plaintext, aad=b""), (aead, enc, context)


def private_key(raw):
    return KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(raw))


def matching_public_key(raw):
    return KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(raw).public_key())


def decapsulate(opener, body):
    """Opens an answer."""
    aead, enc, context = opener
    _, key_bytes, cipher = AEADS[aead]
    length = max(key_bytes, NONCE_BYTES)
    secret = context.export(b"message/bhttp response", length)
    response_nonce, ciphertext = body[:length], body[length:]
    prk = hkdf_extract(enc + response_nonce, secret)
    key = hkdf_expand(prk, b"key", key_bytes)
    nonce = hkdf_expand(prk, b"nonce", NONCE_BYTES)
    return cipher(key).decrypt(nonce, ciphertext, b"")


def rfc_example():
    """RFC 9458, appendix A: proves this client before it proves the relay."""
    key_config = "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003"
    ephemeral = "bc51d5e930bda26589890ac7032f70ad12e4ecb37abb1b65b1256c9c48999c73"
    request = "00034745540568747470730b6578616d706c652e636f6d012f"
    sealed_request = (
        "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472"
        "6374e469135906992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525"
    )
    sealed_answer = "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd"
    config = KeyConfig(bytes.fromhex(key_config))
    check(config.suites == [(1, 1), (1, 3)], "the example's suites")
    message, opener = encapsulate(config, 0x0001, bytes.fromhex(request), bytes.fromhex(ephemeral))
    check(message.hex() == sealed_request, "the example's sealed request")
    check(decapsulate(opener, bytes.fromhex(sealed_answer)).hex() == "0140c8", "the example's answer")
    ok("RFC 9458's example")


def sealed(relay, config, aead, plaintext):
    """Seals a plaintext, sends it, and opens the answer."""
    message, opener = encapsulate(config, aead, plaintext)
    status, headers, body = relay.ask("POST", "/v2/ohttp", message, "message/ohttp-req")
    check(status == 200, f"a sealed answer, not {status}: {body!r}")
    check(headers["content-type"] == "message/ohttp-res", "content type of the answer")
    answer = decapsulate(opener, body)
    on_ladder = len(answer) in (4096, 32_768, HIGHEST_RUNG)
    check(on_ladder, f"an answer of {len(answer)} bytes")
    return answer


# --- form A: an envelope ------------------------------------------------------------------------------------


def envelope(relay, config, aead, action, fields):
    text = json.dumps({"version": 2, "action": action, **fields}).encode()
    plaintext = struct.pack(">I", len(text)) + text
    size = max(4096, -(-len(plaintext) // 256) * 256)
    plaintext += os.urandom(size - len(plaintext))
    answer = sealed(relay, config, aead, plaintext)
    (length,) = struct.unpack_from(">I", answer)
    check(length <= len(answer) - 4, "the answer is as long as it says")
    return json.loads(answer[4 : 4 + length])


# --- form B: Binary HTTP (RFC 9292) -------------------------------------------------------------------------


def varint(number):
    """RFC 9000, section 16."""
    for prefix, size in ((0, 1), (1, 2), (2, 4), (3, 8)):
        if number < 1 << (8 * size - 2):
            return (number | prefix << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError("too large a number")


def with_length(data):
    return varint(len(data)) + data


class Reader:
    """Reads from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        check(self.at + length <= len(self.data), "a whole message")
        self.at += length
        return self.data[self.at - length : self.at]

    def varint(self):
        first = self.take(1)[0]
        rest = self.take((1 << (first >> 6)) - 1)
        return int.from_bytes(bytes([first & 0x3F]) + rest, "big")

    def with_length(self):
        return self.take(self.varint())


def encode_request(method, authority, path, headers, content):
    control = [method.encode(), b"https", authority.encode(), path.encode()]
    lines = b"".join(with_length(part.encode()) for header in headers for part in header)
    # Framing 0: a request of known length. Content and trailers follow the headers.
    parts = b"\x00" + b"".join(map(with_length, control)) + with_length(lines)
    return parts + with_length(content) + with_length(b"")


def read_headers(section):
    reader, headers = Reader(section), {}
    while reader.at < len(section):
        name = reader.with_length().decode()
        headers[name] = reader.with_length().decode()
    return headers


def decode_response(data):
    reader = Reader(data)
    check(reader.varint() == 1, "a response of known length")
    while (status := reader.varint()) < 200:
        reader.with_length()
    headers, content = read_headers(reader.with_length()), reader.with_length()
    if reader.at < len(data):
        reader.with_length()
    check(not any(data[reader.at :]), "padding is zeros")
    return status, headers, content


def binary(relay, config, aead, path, fields):
    headers = [("content-type", "application/json")]
    request = encode_request("POST", relay.host, path, headers, json.dumps(fields).encode())
    status, headers, content = decode_response(sealed(relay, config, aead, request + bytes(100)))
    check(headers["content-type"] == "application/json", "content type inside")
    return status, json.loads(content)


# --- stories ------------------------------------------------------------------------------------------------


def mail_by_envelope(relay, config, aead):
    mailbox, ciphertext = os.urandom(32).hex(), os.urandom(500)
    mail = {"recipient_id": mailbox, "ciphertext": base64.b64encode(ciphertext).decode()}

    def ask(action, fields):
        return envelope(relay, config, aead, action, fields)

    sent = ask("send", mail)
    check(sent["status"] == "ok", f"send: {sent}")
    fetched = ask("fetch", {"mailbox_tokens": [mailbox]})
    check([blob["blob_id"] for blob in fetched["blobs"]] == [sent["blob_id"]], f"fetch: {fetched}")
    check(base64.b64decode(fetched["blobs"][0]["ciphertext"]) == ciphertext, "what was sent")
    check(fetched["blobs"][0]["mailbox_token"] == mailbox, "the token as it was written")
    acked = ask("ack", {"recipient_id": mailbox, "blob_id": sent["blob_id"]})
    check(acked == {"status": "ok", "acknowledged": True}, f"ack: {acked}")
    check(ask("fetch", {"mailbox_tokens": [mailbox]})["blobs"] == [], "nothing after an ack")
    refused = ask("send", {**mail, "recipient_id": "short"})
    error = {"status": "error", "error": "recipient_id must be 64 hex characters"}
    check(refused == error, f"a refusal: {refused}")
    ok(f"mail by envelope, AEAD {aead:#06x}")


def mail_by_binary_http(relay, config, aead):
    mailbox, ciphertext = os.urandom(32).hex(), os.urandom(5000)
    mail = {"recipient_id": mailbox, "ciphertext": base64.b64encode(ciphertext).decode()}
    status, sent = binary(relay, config, aead, "/v2/send", mail)
    check((status, sent["status"]) == (200, "ok"), f"send: {status} {sent}")
    status, fetched = binary(relay, config, aead, "/v2/fetch", {"mailbox_tokens": [mailbox]})
    check(status == 200, f"fetch: {status} {fetched}")
    check([blob["blob_id"] for blob in fetched["blobs"]] == [sent["blob_id"]], f"fetch: {fetched}")
    check(base64.b64decode(fetched["blobs"][0]["ciphertext"]) == ciphertext, "what was sent")
    status, refused = binary(relay, config, aead, "/v2/nothing", {})
    check((status, refused["status"]) == (404, "error"), f"a refusal: {status} {refused}")
    ok(f"mail by Binary HTTP, AEAD {aead:#06x}")


def owner_by_envelope(relay, config, aead):
    owner, mailbox, now = Owner(os.urandom(32)), os.urandom(32), int(time.time())
    other = os.urandom(32)

    def ask(action, fields):
        return envelope(relay, config, aead, action, fields)

    registered = ask("register", owner.register([mailbox, other], now))
    check(registered == {"status": "ok", "registered": 2}, f"register: {registered}")
    for token in (mailbox, owner.public_key):
        sent = ask("send", {"recipient_id": token.hex(), "ciphertext": "c2VhbGVk"})
        check(sent["status"] == "ok", f"send: {sent}")
    purged = ask("purge", owner.purge(mailbox, os.urandom(32), now))
    check(purged == {"status": "ok", "blobs_deleted": 2}, f"purge: {purged}")
    ok("registration and purge")

    guardians = [{"data": base64.b64encode(os.urandom(size)).decode()} for size in (1, 256)]
    stored = ask("guardian_store", {**owner.guardians(b"guardian-store", now), "entries": guardians})
    check(stored == {"status": "ok"}, f"guardian store: {stored}")
    name = {"guardian_hash": owner.guardian_hash.hex()}
    found = ask("guardian_query", name)
    check(found == {"status": "ok", "guardians": guardians}, f"guardian query: {found}")
    deleted = ask("guardian_delete", owner.guardians(b"guardian-delete", now))
    check(deleted == {"status": "ok"}, f"guardian delete: {deleted}")
    check(ask("guardian_query", name) == {"status": "ok", "guardians": []}, "no guardians after a deletion")
    ok("guardian set")


def unknown_key(relay, config):
    other = (config.key_id + 128) % 256
    message = struct.pack(">BHHH", other, KEM_X25519, KDF_SHA256, 3) + os.urandom(100)
    status, headers, body = relay.ask("POST", "/v2/ohttp", message, "message/ohttp-req")
    check(status == 400, f"an unknown key is refused, not {status}")
    check(headers["content-type"] == "application/problem+json", "content type of a problem")
    kind = "https://iana.org/assignments/http-problem-types#ohttp-key"
    check(json.loads(body)["type"] == kind, f"problem type: {body!r}")
    ok("unknown key")


def main(url, anchor):
    check_vectors()
    rfc_example()
    relay = Relay(url)
    config = fetch_key(relay)
    verify_signed_key(relay, config, bytes.fromhex(anchor))
    for _, aead in config.suites:
        mail_by_envelope(relay, config, aead)
        mail_by_binary_http(relay, config, aead)
    owner_by_envelope(relay, config, config.suites[0][1])
    unknown_key(relay, config)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Deviation as deviation:
        sys.exit(f"DEVIATION: {deviation}")
