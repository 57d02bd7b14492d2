"""A peer of relays that shares no code with them: Noise by `noiseprotocol`, WebSockets by `websockets`, protobuf and
frames by hand, written against proto/relay/federation/v1/CHANNEL.md.

    python3 peer.py [--identity HEX] ws://127.0.0.1:8080[/path][#KEY]
    python3 peer.py [--identity HEX] [--noise HEX] --listen PORT [--path /path]

The first dials a relay, leaves blobs with it, gets them back, has them forgotten, and closes; it prints one line of
JSON that says what it saw. The second waits to be dialled, holds what it is given, and prints a line of JSON for each
thing that happens, the first when it listens; port 0 is any. Both end with code 1 at the first thing that is not as
the document says. The private keys are 32 bytes in hex, random if not given.
"""

import argparse
import base64
import hashlib
import http
import http.client
import json
import os
import signal
import struct
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import NoiseInvalidMessage
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

LARGEST_NOISE = 65_535
LARGEST_MESSAGE = 20_971_520
LARGEST_GREETING = 4096
PROLOGUE = b"vauchi-federation-v1" + struct.pack(">II", LARGEST_NOISE, LARGEST_MESSAGE)
SIZES = (256, 1024, 4096, 16_384, 65_519)
# Kind, stream, sequence, flags, total, length.
HEADER = struct.Struct(">BIIBIH")
DATA, CLOSE = 1, 2
REASONS = ("nothing more to say", "not accepted", "broken", "too much", "stopping")
ACCEPTED, REFUSED = 1, 2
# A whole visit takes no longer, in seconds.
PATIENCE = 60


class Deviation(Exception):
    """The relay does something else than the document says."""


class Ended(Exception):
    """The relay ended the connection: the reason it gave, or nothing."""

    def __init__(self, reason=None):
        super().__init__("cut" if reason is None else REASONS[reason])
        self.reason = reason


def check(condition, what):
    if not condition:
        raise Deviation(what)


def text_of(key):
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def key_of(text):
    check(len(text) == 43, "a key has 43 characters")
    key = base64.urlsafe_b64decode(text + "=")
    check(text_of(key) == text, "a key is base64url without padding")
    return key


# --- protobuf -----------------------------------------------------------------------------------------------


def varint(number):
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number, value):
    """A field; nothing if it has its default."""
    if isinstance(value, int):
        return varint(number << 3) + varint(int(value)) if value else b""
    return always(number, value) if value else b""


def always(number, value):
    """A field of bytes, even if there are none."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def read_varint(data, at):
    number = shift = 0
    while True:
        check(at < len(data) and shift < 70, "a whole number")
        number |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at


def read_fields(data):
    """The values of each field, by its number: numbers, or bytes."""
    fields, at = {}, 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 == 0:
            value, at = read_varint(data, at)
        else:
            check(key & 7 == 2, "a field of a kind that the schema has")
            length, at = read_varint(data, at)
            check(at + length <= len(data), "a whole field")
            value, at = data[at : at + length], at + length
        fields.setdefault(key >> 3, []).append(value)
    return fields


def last(fields, number, default):
    value = fields.get(number, [default])[-1]
    check(default is None or isinstance(value, type(default)), f"field {number} is of its kind")
    return value


# --- messages (peer.proto) ----------------------------------------------------------------------------------

HELLO, HELLO_ACK, CAPACITY, OFFLOAD, OFFLOAD_ACK = range(2, 7)
RECALL, RECALL_ACK, FORGET, FORGET_ACK, DRAIN, DRAIN_ACK = range(7, 13)
QUESTIONS = (OFFLOAD, RECALL, FORGET, DRAIN)
ANSWERS = (OFFLOAD_ACK, RECALL_ACK, FORGET_ACK, DRAIN_ACK)


def message(request, kind, body):
    return field(1, request) + always(kind, body)


def read_message(data):
    """The number, the kind or 0 if it is not known, and the fields of the body."""
    fields = read_fields(data)
    kinds = [kind for kind in range(HELLO, DRAIN_ACK + 1) if kind in fields]
    check(len(kinds) <= 1, "one body in a message")
    if not kinds:
        return last(fields, 1, 0), 0, {}
    return last(fields, 1, 0), kinds[0], read_fields(last(fields, kinds[0], b""))


def capacity(free_bytes, accepting):
    return field(1, free_bytes) + field(2, accepting)


def read_capacity(fields):
    return {"free_bytes": last(fields, 1, 0), "accepting": bool(last(fields, 2, 0))}


def about():
    return field(1, b"python-peer") + field(3, 300) + always(4, capacity(1 << 30, True))


def read_about(fields):
    check(last(fields, 3, 0) > 0, "a relay takes some messages a minute")
    check(4 in fields, "a greeting says how much room there is")
    relay_id, client_url = (last(fields, number, b"").decode() for number in (1, 2))
    limit, room = last(fields, 3, 0), read_capacity(read_fields(last(fields, 4, b"")))
    return {"relay_id": relay_id, "client_url": client_url, "messages_per_minute": limit, "capacity": room}


def blob_id(mailbox, ciphertext):
    return hashlib.sha256(b"vauchi-relay/blob/v1\x00" + mailbox + ciphertext).digest()[:16]


@dataclass(frozen=True)
class Blob:
    """A blob on its way."""

    mailbox: bytes
    id: bytes
    ciphertext: bytes
    origin_hint: bytes | None
    created_at: int
    expires_at: int
    owner: bytes | None
    content_hash: bytes
    hop_count: int

    @classmethod
    def random(cls, length):
        mailbox, ciphertext = os.urandom(32), os.urandom(length)
        digest, id = hashlib.sha256(ciphertext).digest(), blob_id(mailbox, ciphertext)
        # Relays remember whole hours.
        hour = int(time.time()) // 3600 * 3600
        return cls(mailbox, id, ciphertext, None, hour, hour + 86_400, None, digest, 1)

    def altered(self, **fields):
        return Blob(**{**self.__dict__, **fields})

    @property
    def name(self):
        return self.mailbox, self.id

    def encode(self):
        parts = [field(1, self.mailbox), field(2, self.id), field(3, self.ciphertext)]
        if self.origin_hint is not None:
            parts.append(always(4, self.origin_hint))
        parts += [field(5, self.created_at), field(6, self.expires_at)]
        if self.owner is not None:
            parts.append(always(7, self.owner))
        return b"".join(parts + [field(8, self.content_hash), field(9, self.hop_count)])

    @classmethod
    def decode(cls, data):
        defaults = (b"", b"", b"", None, 0, 0, None, b"", 0)
        fields = read_fields(data)
        return cls(*(last(fields, number, default) for number, default in enumerate(defaults, 1)))

    def check(self):
        check(len(self.mailbox) == 32, "a mailbox has 32 bytes")
        check(self.id == blob_id(self.mailbox, self.ciphertext), "an id fits its ciphertext")
        check(self.content_hash == hashlib.sha256(self.ciphertext).digest(), "a hash fits its ciphertext")
        check(self.created_at <= self.expires_at, "the beginning is before the end")
        return self


def encode_names(names, number=1):
    return b"".join(always(number, field(1, mailbox) + field(2, id)) for mailbox, id in names)


def read_names(fields, number=1):
    read = map(read_fields, fields.get(number, []))
    return [(last(name, 1, b""), last(name, 2, b"")) for name in read]


# --- frames -------------------------------------------------------------------------------------------------


def padded(frame):
    return frame.ljust(next(size for size in SIZES if size >= len(frame)), b"\x00")


def cut(stream, data):
    """The frames of one stream."""
    most = SIZES[-1] - HEADER.size
    pieces = [data[at : at + most] for at in range(0, len(data), most)] or [b""]
    for sequence, piece in enumerate(pieces):
        flags = 1 if sequence == len(pieces) - 1 else 0
        yield padded(HEADER.pack(DATA, stream, sequence, flags, len(data), len(piece)) + piece)


class Streams:
    """Messages that come together from frames."""

    def __init__(self):
        self.newest, self.open = 0, {}

    def take(self, frame):
        """A message if the frame was its last, else nothing."""
        check(len(frame) in SIZES, f"a frame has one of the sizes, not {len(frame)} bytes")
        if frame[0] == CLOSE:
            check(frame == padded(frame[:2]), "a close is padded with zeros to the next size")
            check(frame[1] < len(REASONS), f"close reason {frame[1]}")
            raise Ended(frame[1])
        check(frame[0] == DATA, f"a frame of kind {frame[0]}")
        _, stream, sequence, flags, total, length = HEADER.unpack_from(frame)
        used = frame[: HEADER.size + length]
        check(len(used) == HEADER.size + length, "a frame is as long as it says")
        check(frame == padded(used), "data is padded with zeros to the next size")
        check(flags in (0, 1), f"flags {flags:#04x}")
        check(total <= LARGEST_MESSAGE, f"a message of {total} bytes")
        if stream not in self.open:
            check(stream == self.newest + 1, "streams are numbered one by one")
            check(len(self.open) < 4, "four streams may be open")
            self.newest, self.open[stream] = stream, (0, total, [])
        next_sequence, first_total, pieces = self.open[stream]
        check(sequence == next_sequence, "frames are numbered one by one")
        check(total == first_total, "the total stays the same")
        pieces.append(used[HEADER.size :])
        self.open[stream] = (sequence + 1, total, pieces)
        have = sum(map(len, pieces))
        check(have <= total, "a stream stays within its total")
        if not flags:
            return None
        check(have == total, "a stream ends with its total")
        del self.open[stream]
        return b"".join(pieces)


# --- channel ------------------------------------------------------------------------------------------------


class Keys:
    """Who this peer is."""

    def __init__(self, identity=None, noise=None):
        self.identity = Ed25519PrivateKey.from_private_bytes(identity or os.urandom(32))
        self.identity_public = self.identity.public_key().public_bytes_raw()
        self.noise = noise or os.urandom(32)
        self.noise_public = X25519PrivateKey.from_private_bytes(self.noise).public_key().public_bytes_raw()


def noise_connection():
    noise = NoiseConnection.from_name(b"Noise_NK_25519_ChaChaPoly_BLAKE2s")
    noise.set_prologue(PROLOGUE)
    return noise


def hear_handshake(noise, data):
    check(len(data) == 48, f"a handshake message has 48 bytes, not {len(data)}")
    try:
        payload = noise.read_message(data)
    except (InvalidTag, NoiseInvalidMessage) as error:
        raise Deviation("a handshake message opens") from error
    check(payload == b"", "a handshake message has an empty payload")


class Channel:
    """A connection to a relay, after the handshake."""

    def __init__(self, socket, noise, keys, responder_key):
        self.socket, self.noise, self.keys, self.responder_key = socket, noise, keys, responder_key
        self.hash = noise.get_handshake_hash()
        self.streams, self.stream = Streams(), 0

    @classmethod
    def dial(cls, socket, keys, relay_key):
        """The handshake and the greeting of who dialled."""
        noise = noise_connection()
        noise.set_as_initiator()
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, relay_key)
        noise.start_handshake()
        socket.send(bytes(noise.write_message()))
        hear_handshake(noise, receive_binary(socket))
        channel = cls(socket, noise, keys, relay_key)
        channel.greet(HELLO, 1)
        return channel, channel.greeted(HELLO_ACK, 2)

    @classmethod
    def accept(cls, socket, keys):
        """The handshake and the greeting of who was dialled."""
        noise = noise_connection()
        noise.set_as_responder()
        noise.set_keypair_from_private_bytes(Keypair.STATIC, keys.noise)
        noise.start_handshake()
        hear_handshake(noise, receive_binary(socket))
        socket.send(bytes(noise.write_message()))
        channel = cls(socket, noise, keys, keys.noise_public)
        greeted = channel.greeted(HELLO, 1)
        channel.greet(HELLO_ACK, 2)
        return channel, greeted

    def signed(self, role, identity):
        return b"vauchi-federation-hello-v1" + bytes([role]) + identity + self.responder_key + self.hash

    def greet(self, kind, role):
        identity = self.keys.identity_public
        signature = self.keys.identity.sign(self.signed(role, identity))
        body = field(1, 1) + field(2, identity) + field(3, signature) + always(4, about())
        self.send(message(0, kind, body))

    def greeted(self, kind, role):
        data = self.receive_bytes()
        check(len(data) <= LARGEST_GREETING, f"a greeting of {len(data)} bytes")
        _, said, fields = read_message(data)
        check(said == kind, f"the first message is a greeting, not of kind {said}")
        check(last(fields, 1, 0) == 1, "version 1")
        identity, signature = last(fields, 2, b""), last(fields, 3, b"")
        check(len(identity) == 32, "an identity has 32 bytes")
        try:
            Ed25519PublicKey.from_public_bytes(identity).verify(signature, self.signed(role, identity))
        except InvalidSignature as error:
            raise Deviation("the signature of a greeting holds") from error
        check(4 in fields, "a greeting says something of its sender")
        return {"identity": text_of(identity), **read_about(read_fields(last(fields, 4, b"")))}

    def send(self, data):
        self.stream += 1
        for frame in cut(self.stream, data):
            self.send_frame(frame)

    def send_frame(self, frame):
        try:
            self.socket.send(bytes(self.noise.encrypt(frame)))
        except ConnectionClosed:
            # Why, the next thing that was received says.
            pass

    def receive_bytes(self):
        while True:
            try:
                frame = self.noise.decrypt(receive_binary(self.socket))
            except (InvalidTag, NoiseInvalidMessage) as error:
                raise Deviation("a message opens") from error
            data = self.streams.take(bytes(frame))
            if data is not None:
                return data

    def receive(self):
        """The next message whose kind is known."""
        while True:
            request, kind, fields = read_message(self.receive_bytes())
            check(kind not in (HELLO, HELLO_ACK), "one greeting")
            if kind:
                check((request == 0) == (kind == CAPACITY), "notices have number 0, and nothing else has")
                return request, kind, fields

    def close(self, reason):
        self.send_frame(padded(bytes([CLOSE, reason])))


def receive_binary(socket):
    """The next message, which must be one frame of bytes."""
    try:
        pieces = list(socket.recv_streaming())
    except ConnectionClosed as error:
        raise Ended from error
    check(len(pieces) == 1, "a message is not fragmented")
    check(isinstance(pieces[0], bytes), "a message is bytes")
    check(len(pieces[0]) <= LARGEST_NOISE, f"a message of {len(pieces[0])} bytes")
    return pieces[0]


# --- what a peer holds --------------------------------------------------------------------------------------


class Holdings:
    """The blobs that relays brought."""

    def __init__(self, tell):
        self.blobs, self.lock, self.tell = {}, threading.Lock(), tell

    def answer(self, request, kind, fields):
        """The answer to a question."""
        with self.lock:
            if kind == OFFLOAD:
                return message(request, OFFLOAD_ACK, self.offload(fields))
            if kind == RECALL:
                return message(request, RECALL_ACK, self.recall(read_names(fields)))
            if kind == FORGET:
                return message(request, FORGET_ACK, self.forget(read_names(fields)))
            self.tell(event="drain")
            return message(request, DRAIN_ACK, b"")

    def offload(self, fields):
        blobs, home = [Blob.decode(data) for data in fields.get(1, [])], bool(last(fields, 2, 0))
        check(blobs, "an offload of something")
        verdicts = [self.judge(blob, home) for blob in blobs]
        refused = verdicts.count(REFUSED)
        self.tell(event="offload", blobs=len(blobs), home=home, refused=refused, held=len(self.blobs))
        return always(1, b"".join(map(varint, verdicts))) + always(2, capacity(1 << 30, True))

    def judge(self, blob, home):
        try:
            check(home or blob.hop_count == 1, "a blob that leaves home makes its first move")
            blob.check()
        except Deviation as deviation:
            self.tell(event="refused", what=str(deviation))
            return REFUSED
        self.blobs[blob.name] = blob
        return ACCEPTED

    def recall(self, names):
        found = [self.blobs[name] for name in names if name in self.blobs]
        missing = [name for name in names if name not in self.blobs]
        self.tell(event="recall", found=len(found), missing=len(missing))
        return b"".join(always(1, blob.encode()) for blob in found) + encode_names(missing, 2)

    def forget(self, names):
        gone = sum(self.blobs.pop(name, None) is not None for name in names)
        self.tell(event="forget", blobs=gone, held=len(self.blobs))
        return field(1, True)


# --- to dial ------------------------------------------------------------------------------------------------


class Visit:
    """Questions to a relay, with an ear for its own."""

    def __init__(self, channel, holdings):
        self.channel, self.holdings, self.asked = channel, holdings, 0

    def ask(self, kind, body, answer):
        self.asked += 1
        self.channel.send(message(self.asked, kind, body))
        while True:
            request, said, fields = self.channel.receive()
            if said in QUESTIONS:
                self.channel.send(self.holdings.answer(request, said, fields))
            elif said in ANSWERS:
                check(request == self.asked, "an answer has the number of its question")
                check(said == answer, f"an answer of kind {answer}, not {said}")
                return fields

    def offload(self, blobs):
        fields = self.ask(OFFLOAD, b"".join(always(1, blob.encode()) for blob in blobs), OFFLOAD_ACK)
        verdicts, packed = [], last(fields, 1, b"")
        at = 0
        while at < len(packed):
            verdict, at = read_varint(packed, at)
            verdicts.append(verdict)
        check(2 in fields, "an answer to an offload says how much room is left")
        return verdicts

    def recall(self, names):
        fields = self.ask(RECALL, encode_names(names), RECALL_ACK)
        return [Blob.decode(data).check() for data in fields.get(1, [])], read_names(fields, 2)

    def forget(self, names):
        return bool(last(self.ask(FORGET, encode_names(names), FORGET_ACK), 1, 0))


def check_same(ours, theirs):
    """A blob came back as it went."""
    for name in Blob.__dataclass_fields__:
        went, came = getattr(ours, name), getattr(theirs, name)
        shown = f": {went}, {came}" if isinstance(went, int) else ""
        # Coming home is a move too, or not.
        check(went == came or name == "hop_count", f"the {name} comes back as it went{shown}")


def visit(channel, holdings):
    """All that a peer may do with blobs of its own. Says what it saw."""
    visit = Visit(channel, holdings)
    blobs = [Blob.random(length) for length in (1, 500, 150_000)]
    names, stranger = [blob.name for blob in blobs], (os.urandom(32), os.urandom(16))

    verdicts = visit.offload(blobs)
    check(verdicts == [ACCEPTED] * 3, f"sound blobs are accepted: {verdicts}")
    check(visit.offload(blobs[:1]) == [ACCEPTED], "what is offered twice is accepted twice")
    sound = Blob.random(10)
    unsound = [
        sound.altered(hop_count=2),
        sound.altered(content_hash=os.urandom(32)),
        sound.altered(id=os.urandom(16)),
    ]
    verdicts = visit.offload([*unsound, sound])
    check(verdicts == [REFUSED] * 3 + [ACCEPTED], f"each blob has a verdict of its own: {verdicts}")
    names.append(sound.name)

    back, missing = visit.recall([*names, stranger])
    by_name = {blob.name: blob for blob in back}
    check(len(back) == len(by_name) == 4, f"each blob comes back once, not {len(back)}")
    for blob in [*blobs, sound]:
        check(blob.name in by_name, "what was asked for comes back")
        check_same(blob, by_name[blob.name])
    check(missing == [stranger], "what was never there is missing")

    # A message that no version knows: passed over.
    channel.send(field(1, 77) + always(1000, b"later"))
    check(visit.forget([*names, stranger]), "blobs are forgotten")
    back, missing = visit.recall(names)
    check(back == [] and sorted(missing) == sorted(names), "what was forgotten is missing")
    return {"offloaded": 4, "refused": 3, "recalled": 4, "missing": 1, "forgotten": 4}


def fetch_key(url):
    secure = url.scheme == "wss"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(url.netloc, timeout=30)
    try:
        connection.request("GET", url.path.rstrip("/") + "/federation/key")
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    check(response.status == 200, f"a key, not {response.status}")
    check(response.headers.get_content_type() == "text/plain", "content type of a key")
    return key_of(body.decode())


def dial(url, keys):
    signal.alarm(PATIENCE)
    url = urllib.parse.urlsplit(url)
    relay_key = fetch_key(url)
    check(url.fragment in ("", text_of(relay_key)), "the key is the one that is pinned")
    address = url._replace(path=url.path.rstrip("/") + "/federation", fragment="").geturl()
    with connect(address, compression=None, max_size=LARGEST_NOISE, proxy=None) as socket:
        check(not socket.protocol.extensions and socket.subprotocol is None, "no extension and no subprotocol")
        channel, relay = Channel.dial(socket, keys, relay_key)
        seen = visit(channel, Holdings(lambda **_: None))
        channel.close(0)
        try:
            while True:
                # The relay may have said something before it read the close.
                channel.receive()
        except Ended as ended:
            check(ended.reason in (None, 0), f"a closed connection ends, and not so: {ended}")
    return {"ok": True, "relay": relay, **seen}


# --- to be dialled ------------------------------------------------------------------------------------------


def tell(**event):
    print(json.dumps(event), flush=True)


def listen(port, path, keys):
    holdings = Holdings(tell)

    def door(connection, request):
        if request.path == f"{path}/federation/key":
            tell(event="key")
            return connection.respond(http.HTTPStatus.OK, text_of(keys.noise_public))
        if request.path != f"{path}/federation":
            return connection.respond(http.HTTPStatus.NOT_FOUND, "")
        return None

    def converse(socket):
        try:
            channel, relay = Channel.accept(socket, keys)
            tell(event="greeted", relay=relay)
            while True:
                request, kind, fields = channel.receive()
                if kind in QUESTIONS:
                    channel.send(holdings.answer(request, kind, fields))
                elif kind == CAPACITY:
                    tell(event="capacity", **read_capacity(fields))
                else:
                    raise Deviation("an answer that nobody asked for")
        except Ended as ended:
            tell(event="ended", reason=ended.reason)
        except ConnectionClosed:
            tell(event="ended", reason=None)
        except Deviation as deviation:
            tell(event="deviation", what=str(deviation))
            # From a thread of its own there is no other way out.
            os._exit(1)

    options = {"compression": None, "max_size": LARGEST_NOISE}
    with serve(converse, "127.0.0.1", port, process_request=door, **options) as server:
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}{path}"
        key, identity = text_of(keys.noise_public), text_of(keys.identity_public)
        tell(event="listening", url=url, key=key, identity=identity)
        server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="base URL of a relay, with its key to pin it")
    parser.add_argument("--listen", type=int, metavar="PORT", help="wait to be dialled")
    parser.add_argument("--path", default="", help="path of the base URL of this peer")
    parser.add_argument("--identity", type=bytes.fromhex, metavar="HEX", help="private Ed25519 key")
    parser.add_argument("--noise", type=bytes.fromhex, metavar="HEX", help="private X25519 key")
    given = parser.parse_args()
    if (given.url is None) == (given.listen is None):
        parser.error("a URL, or --listen")
    keys = Keys(given.identity, given.noise)
    if given.listen is not None:
        return listen(given.listen, given.path, keys)
    try:
        tell(**dial(given.url, keys))
    except (Deviation, Ended) as error:
        tell(ok=False, what=f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
