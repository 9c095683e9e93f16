#!/usr/bin/env python3
"""WebSocket client for a terminal. Needs only Python.

usage: scripts/ws.py [-H 'NAME: VALUE']... [-p PROTOCOL] [-b] [-k] [-n COUNT] URL [MESSAGE]...

Connects, sends the messages and then each line of standard input. Prints each received message on
a line. Ends when the server closes or on Ctrl-C.

  -H  header of the upgrade request, such as 'Cookie: auth=jack'
  -p  subprotocol to request
  -b  send binary messages; escapes such as \\n, \\x04 and \\022 are decoded as printf does
  -k  send an empty message every 10 s, for servers that close clients that send nothing
  -n  close after receiving COUNT messages

Exit status: 0 if the connection was closed with code 1000, by -n or by Ctrl-C; 1 if the upgrade was
rejected, the connection was lost or closed with another code (printed on standard error); 2 for
wrong arguments.
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
        connection.send_message(message, options.b)
    relay(connection, options)


def relay(connection, options):
    """Sends lines of standard input and prints messages until -n messages have come."""
    selector = selectors.DefaultSelector()
    selector.register(connection.socket, selectors.EVENT_READ)
    try:
        selector.register(sys.stdin, selectors.EVENT_READ)
    except (PermissionError, ValueError):
        pass  # epoll does not support files and /dev/null
    heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
    received = 0
    while options.n is None or received < options.n:
        wait = max(0, heartbeat_at - time.monotonic()) if options.k else None
        for key, _ in selector.select(wait):
            if key.fileobj is sys.stdin:
                line = sys.stdin.readline()
                if line:
                    connection.send_message(line.rstrip("\n"), options.b)
                else:
                    selector.unregister(sys.stdin)
                continue
            for message in connection.receive_messages():
                print(message, flush=True)
                received += 1
                if received == options.n:
                    break
        if options.k and time.monotonic() >= heartbeat_at:
            heartbeat_at += HEARTBEAT_SECONDS
            connection.send(TEXT, b"")
    connection.send(CLOSE, struct.pack("!H", 1000))


class Connection:
    """A WebSocket connection. Errors exit the program with a message."""

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
            sys.exit(f"ws.py: upgrade rejected: {head.splitlines()[0]}: {reason}")
        self.socket.settimeout(None)

    def read_until(self, end):
        """Returns the bytes before `end` and consumes both."""
        while end not in self.unread:
            self.receive()
        head, _, self.unread = self.unread.partition(end)
        return head

    def read_body(self, head):
        """Returns the body of an HTTP response; empty without a Content-Length."""
        lines = head.lower().split("\r\n")
        lengths = [line for line in lines if line.startswith("content-length:")]
        length = int(lengths[0].partition(":")[2]) if lengths else 0
        while len(self.unread) < length:
            self.receive()
        return self.unread[:length].decode(errors="replace")

    def receive(self):
        """Appends received bytes to `unread`."""
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            sys.exit(f"ws.py: connection lost: {error}")
        if not data:
            sys.exit("ws.py: the server ended the connection without a close frame")
        self.unread += data

    def send_message(self, text, is_binary):
        """Sends a text or binary message; escapes of a binary one are decoded."""
        if is_binary:
            data, _ = codecs.escape_decode(text.encode())
            self.send(BINARY, data)
        else:
            self.send(TEXT, text.encode())

    def send(self, opcode, data):
        """Sends one masked frame."""
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

    def receive_messages(self):
        """Reads once and yields the complete messages as text. Handles ping and close frames."""
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
                    yield printable(self.opcode, whole)

    def take_frame(self):
        """Removes and returns the first frame: (FIN, opcode, payload), or None if incomplete."""
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
        """Echoes a close frame, prints its code and reason and exits."""
        self.send(CLOSE, data[:2])
        code = int.from_bytes(data[:2], "big") if data else "without a code"
        print(f"closed {code} {data[2:].decode(errors='replace')}".strip(), file=sys.stderr)
        sys.exit(0 if code == 1000 else 1)


def printable(opcode, data):
    """Returns a text message as it is, a binary one with escapes."""
    if opcode == TEXT:
        return data.decode(errors="replace")
    return data.decode("latin-1").encode("unicode_escape").decode()


try:
    main()
except KeyboardInterrupt:
    pass
