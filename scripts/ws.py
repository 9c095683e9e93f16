#!/usr/bin/env python3
"""Speaks WebSocket from a terminal, with nothing but Python.

usage: scripts/ws.py [-H 'NAME: VALUE']... [-p PROTOCOL] [-b] [-k] [-n COUNT] URL [MESSAGE]...

Connects, sends the messages, then each line of standard input, and prints what comes, a message
to a line, until the server closes or you interrupt it.

  -H  a header of the upgrade request, such as 'Cookie: auth=jack'
  -p  a subprotocol to ask for
  -b  send binary messages, in which \\n, \\x04 and \\022 are what printf takes them for
  -k  send an empty message every 10 s, for servers that close whoever only listens
  -n  close after so many messages have come

Exit status: 0 if the connection was closed with 1000 or by -n; 1 if it was refused, broken or
closed with another code, which is said on standard error; 2 for wrong arguments.
"""

import argparse
import base64
import codecs
import hashlib
import os
import selectors
import socket
import struct
import sys
import time
import urllib.parse

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HEARTBEAT_SECONDS = 10
CONNECT_SECONDS_MAX = 10


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-p")
    parser.add_argument("-b", action="store_true")
    parser.add_argument("-k", action="store_true")
    parser.add_argument("-n", type=int)
    parser.add_argument("url")
    parser.add_argument("message", nargs="*")
    options = parser.parse_args()
    connection = Connection(options.url, options.H, options.p)
    for message in options.message:
        connection.say(message, options.b)
    talk(connection, options)


def talk(connection, options):
    """Carries messages both ways."""
    selector = selectors.DefaultSelector()
    selector.register(connection.socket, selectors.EVENT_READ)
    try:
        selector.register(sys.stdin, selectors.EVENT_READ)
    except (PermissionError, ValueError):
        pass  # a file or /dev/null, which has nothing to wait for
    beat_at = time.monotonic() + HEARTBEAT_SECONDS
    heard = 0
    while options.n is None or heard < options.n:
        wait = max(0, beat_at - time.monotonic()) if options.k else None
        for key, _ in selector.select(wait):
            if key.fileobj is sys.stdin:
                line = sys.stdin.readline()
                if line:
                    connection.say(line.rstrip("\n"), options.b)
                else:
                    selector.unregister(sys.stdin)
                continue
            for message in connection.hear():
                print(message, flush=True)
                heard += 1
                if heard == options.n:
                    break
        if options.k and time.monotonic() >= beat_at:
            beat_at += HEARTBEAT_SECONDS
            connection.send(TEXT, b"")
    connection.send(CLOSE, struct.pack("!H", 1000))


class Connection:
    """A WebSocket, from its upgrade on."""

    def __init__(self, url, headers, protocol):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "ws" or not parts.hostname:
            sys.exit(f"ws.py: {url} is not a ws:// URL")
        address = (parts.hostname, parts.port or 80)
        try:
            self.socket = socket.create_connection(address, CONNECT_SECONDS_MAX)
        except OSError as error:
            sys.exit(f"ws.py: cannot connect to {parts.netloc}: {error}")
        self.unread = b""
        self.fragments = b""
        key = base64.b64encode(os.urandom(16))
        target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Key: {key.decode()}"]
        lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
        self.socket.sendall("\r\n".join([*lines, *headers, "", ""]).encode())
        head = self.read_until(b"\r\n\r\n").decode("latin-1")
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_SUFFIX).digest()).decode()
        if not head.startswith("HTTP/1.1 101 ") or accept not in head:
            reason = self.read_body(head).strip()
            sys.exit(f"ws.py: refused: {head.splitlines()[0]}: {reason}")
        self.socket.settimeout(None)

    def read_until(self, end):
        while end not in self.unread:
            self.receive()
        head, _, self.unread = self.unread.partition(end)
        return head

    def read_body(self, head):
        """What an answer says that is no upgrade, as far as it says how long that is."""
        lines = head.lower().split("\r\n")
        lengths = [line for line in lines if line.startswith("content-length:")]
        length = int(lengths[0].partition(":")[2]) if lengths else 0
        while len(self.unread) < length:
            self.receive()
        return self.unread[:length].decode(errors="replace")

    def receive(self):
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            sys.exit(f"ws.py: the connection broke: {error}")
        if not data:
            sys.exit("ws.py: the connection has ended without a close frame")
        self.unread += data

    def say(self, text, is_binary):
        if is_binary:
            data, _ = codecs.escape_decode(text.encode())
            self.send(BINARY, data)
        else:
            self.send(TEXT, text.encode())

    def send(self, opcode, data):
        length = len(data)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        elif length < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self.socket.sendall(head + mask + masked)

    def hear(self):
        """The messages that have come whole by now, for a terminal."""
        self.receive()
        while frame := self.take_frame():
            is_last, opcode, data = frame
            if opcode == PING:
                self.send(PONG, data)
            elif opcode == CLOSE:
                self.end(data)
            elif opcode != PONG:
                if opcode != CONTINUATION:
                    self.opcode = opcode
                self.fragments += data
                if is_last:
                    whole, self.fragments = self.fragments, b""
                    yield shown(self.opcode, whole)

    def take_frame(self):
        if len(self.unread) < 2:
            return None
        first, length = self.unread[:2]
        start = {126: 4, 127: 10}.get(length, 2)
        if len(self.unread) < start:
            return None
        if length > 125:
            length = int.from_bytes(self.unread[2:start], "big")
        if len(self.unread) < start + length:
            return None
        data = self.unread[start : start + length]
        self.unread = self.unread[start + length :]
        return first & 0x80 != 0, first & 15, data

    def end(self, data):
        self.send(CLOSE, data[:2])
        code = int.from_bytes(data[:2], "big") if data else "without a code"
        print(f"closed {code} {data[2:].decode(errors='replace')}".strip(), file=sys.stderr)
        sys.exit(0 if code == 1000 else 1)


def shown(opcode, data):
    if opcode == TEXT:
        return data.decode(errors="replace")
    return data.decode("latin-1").encode("unicode_escape").decode()


try:
    main()
except KeyboardInterrupt:
    pass
