#!/usr/bin/env python3
"""Records the bytes of the Autobahn suite as the transcripts in tests/autobahn/.

usage: scripts/autobahn-record.py WSTEST HOST:PORT [OUT_DIR]

WSTEST is the suite's program as scripts/autobahn.sh installs it. HOST:PORT is a server that echoes
on /echo and passes the suite; the transcripts in the repository were recorded with Node's `ws`
package. OUT_DIR defaults to tests/autobahn. Takes about four minutes. If the server fails a case,
nothing is written: a transcript contains the responses of a correct server.

The suite's fuzzing client connects to a proxy in this program, which records the bytes of both
directions. The proxy delays the server's bytes until the suite has sent nothing for 10 ms, so the
suite's bytes after a response were sent because of it. The suite's report of each case gives the
other outcomes that it accepts and the sizes of its writes. The grammar of a transcript is in
tests/autobahn/README.md.
"""

import asyncio
import collections
import gzip
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time

CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
CASES_COUNT = 301
QUIET_SECONDS = 0.010
CLOSE_SECONDS = 0.100
PAUSE_SECONDS = 0.5  # the suite's own pauses are 1 s
SUITE_SECONDS_MAX = 1200
COMPRESSED_ABOVE_BYTES = 500_000

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KIND = {TEXT: "text", BINARY: "binary", PONG: "pong"}

Frame = collections.namedtuple("Frame", "first mask payload start end")
# The recording of one connection. `suite`: the suite's bytes. `pauses`: offsets in them where the
# suite paused. `server`: pairs of the number of suite bytes sent before, and bytes of the server.
Wire = collections.namedtuple("Wire", "suite pauses server")


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    wstest, server = sys.argv[1], sys.argv[2].rsplit(":", 1)
    out = pathlib.Path(sys.argv[3] if len(sys.argv) == 4 else "tests/autobahn")

    with tempfile.TemporaryDirectory() as reports:
        wires = asyncio.run(record(wstest, server[0], int(server[1]), reports))
        paths = pathlib.Path(reports).glob("*_case_*.json")
        cases = [json.loads(path.read_text()) for path in paths]

    cases.sort(key=lambda case: [int(part) for part in case["id"].split(".")])
    assert len(cases) == CASES_COUNT, f"{len(cases)} cases"
    groups = collections.defaultdict(list)
    for case in cases:
        key = re.search(r"Sec-WebSocket-Key: (\S+)", case["httpRequest"]).group(1)
        try:
            groups[case["id"].split(".")[0]] += transcribe(case, wires[key])
        except AssertionError as error:
            sys.exit(f"case {case['id']}: {error}")
    for group, lines in groups.items():
        write(out, group, "\n".join(lines) + "\n")


# The proxy.


async def record(wstest, host, port, reports):
    """Runs the suite through the proxy. Returns the recordings by `Sec-WebSocket-Key`."""
    wires = {}

    async def accept(reader, writer):
        key, wire = await relay(reader, writer, *await asyncio.open_connection(host, port))
        wires[key] = wire

    proxy = await asyncio.start_server(accept, "127.0.0.1", 0)
    port_here = proxy.sockets[0].getsockname()[1]
    spec = pathlib.Path(reports) / "spec.json"
    spec.write_text(
        json.dumps(
            {
                "outdir": reports,
                "servers": [{"agent": "server", "url": f"ws://127.0.0.1:{port_here}/echo"}],
                "cases": CASES,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
        )
    )
    command = [wstest, "-m", "fuzzingclient", "-s", str(spec)]
    suite = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    try:
        await asyncio.wait_for(suite.wait(), SUITE_SECONDS_MAX)
    except asyncio.TimeoutError:
        suite.kill()
        raise
    assert suite.returncode == 0, f"wstest ended with {suite.returncode}"
    proxy.close()
    return wires


async def relay(suite_reader, suite_writer, server_reader, server_writer):
    """Relays and records one connection, handshake included, until both sides have ended."""
    request = await suite_reader.readuntil(b"\r\n\r\n")
    server_writer.write(request)
    suite_writer.write(await server_reader.readuntil(b"\r\n\r\n"))
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request).group(1).decode()

    wire = Wire(bytearray(), [], [])
    suite_sent_at = server_sent_at = time.monotonic()
    ended = False

    async def from_suite():
        nonlocal suite_sent_at, ended
        while data := await read(suite_reader):
            now = time.monotonic()
            if now - max(suite_sent_at, server_sent_at) > PAUSE_SECONDS:
                wire.pauses.append(len(wire.suite))
            suite_sent_at = now
            wire.suite.extend(data)
            server_writer.write(data)
        ended = True
        end(server_writer)

    async def from_server():
        nonlocal server_sent_at
        while data := await read(server_reader):
            while not ended and (rest := suite_sent_at + QUIET_SECONDS - time.monotonic()) > 0:
                await asyncio.sleep(rest)
            server_sent_at = time.monotonic()
            wire.server.append((len(wire.suite), data))
            suite_writer.write(data)
        # Leave the suite time for its own close frame, which belongs to the case.
        await asyncio.sleep(CLOSE_SECONDS)
        end(suite_writer)

    await asyncio.gather(from_suite(), from_server())
    suite_writer.close()
    server_writer.close()
    return key, wire


async def read(reader):
    try:
        return await reader.read(1 << 20)
    except ConnectionError:
        return b""


def end(writer):
    """Ends the sending direction of a connection."""
    try:
        writer.write_eof()
    except OSError:
        pass


# From a wire to a transcript.


def transcribe(case, wire):
    """Returns the lines of one case. Asserts that they agree with the suite's report."""
    name, expected = case["id"], case["expected"]
    results = case["behavior"], case["behaviorClose"]
    informational = "INFORMATIONAL" in results
    assert informational or results[0] in ("OK", "NON-STRICT"), results
    assert informational or results[1] == "OK", results
    assert case["wasClean"] and not case["droppedByMe"], case["wasNotCleanReason"]

    suite = frames(bytes(wire.suite), masked=True)
    server = frames(b"".join(data for _, data in wire.server), masked=False)
    check_echo(suite, server)

    # If the suite accepts several outcomes, the shorter ones lack the last responses or pauses.
    # The cases of group 9 list no outcomes.
    responses_min, pauses_min = len(server), len(wire.pauses)
    if informational:
        responses_min = 0
    elif len(expected) > 1:
        responses_min = min_count(expected, "message", "pong")
        pauses_min = min_count(expected, "timeout")

    steps = []  # (octets of the suite before it, order, line)
    before = prior_octets(wire.server)
    for index, frame in enumerate(server):
        steps.append((before(frame.start), 0, response(case, frame, index >= responses_min)))
    for index, octets in enumerate(wire.pauses):
        steps.append((octets, 1, "." if index < pauses_min else ".?"))
    writes = write_sizes(case, suite, len(wire.suite))
    for start, line in suite_lines(wire, suite, writes, {octets for octets, _, _ in steps}):
        steps.append((start, 2, line))
    steps.sort(key=lambda step: step[:2])  # stable: steps at one offset keep their order
    lines = [line for _, _, line in steps]
    assert b"".join(map(suite_octets, lines)) == wire.suite, "the transcript is not the recording"
    return [f"case {name}"] + lines


def min_count(expected, *kinds):
    """Returns the least number of events of these kinds in the outcomes that the suite accepts."""
    return min(sum(event[0] in kinds for event in events) for events in expected.values())


def check_echo(suite, server):
    """Asserts that the server echoed the suite's messages and pings, in order, and closed."""
    messages, pings, begun = [], [], None
    for frame in suite:
        opcode = frame.first & 15
        if opcode in (TEXT, BINARY):
            begun = (opcode, [])
        if opcode in (0, TEXT, BINARY) and begun:
            begun[1].append(frame.payload)
            if frame.first & 0x80:
                messages.append((begun[0], b"".join(begun[1])))
                begun = None
        elif opcode == PING:
            pings.append(frame.payload)
    data = [(f.first & 15, f.payload) for f in server if f.first & 15 in (TEXT, BINARY)]
    pongs = [f.payload for f in server if f.first & 15 == PONG]
    assert data == messages[: len(data)], "an echo differs"
    assert pongs == pings[: len(pongs)], "a pong differs"
    assert server and server[-1].first == 0x80 | CLOSE, "no close frame"
    assert all(f.first & 0x70 == 0 and f.first & 0x80 for f in server), "fragment or reserved bits"


def response(case, frame, optional):
    """Returns the line of a server frame. Asserts that the suite accepts its close code."""
    opcode = frame.first & 15
    if opcode != CLOSE:
        return f"<{'?' if optional else ''} {KIND[opcode]} {octets_text(frame.payload)}"
    if not frame.payload:
        # A close frame may be empty only if the suite's was.
        assert case["localCloseCode"] is None, "an empty close frame"
        return "< close -"
    codes = case["expectedClose"]["closeCode"]
    assert struct.unpack("!H", frame.payload[:2])[0] in codes, "the close code"
    return "< close " + " ".join(str(code) for code in sorted(set(codes)))


def prior_octets(pieces):
    """Returns a function: offset in the server's bytes -> number of suite bytes sent before it."""
    ends, total = [], 0
    for octets, data in pieces:
        total += len(data)
        ends.append((total, octets))
    return lambda offset: next(octets for end, octets in ends if offset < end)


def write_sizes(case, suite, total):
    """Returns the suite's writes as (octets, is not merged with the next), from its log.

    If the log is incomplete: the size of every write, or None if each frame is one write.
    """
    log = [(entry[1][0], entry[2]) for entry in case["wirelog"] if entry[0] == "TO"]
    log = log[1:]  # without the handshake
    if sum(size for size, _ in log) == total:
        return log
    # The log of group 9 lacks bulk writes; the statistics have their sizes.
    counts = {int(size): count for size, count in case["txOctetStats"].items()}
    size, count = max(counts.items(), key=lambda item: item[1])
    return size if count > len(suite) else None


def suite_lines(wire, suite, writes, breaks):
    """Yields (offset, line) for every frame of the suite, or run of frames that differ by mask."""
    sizes = dict(write_starts(writes)) if isinstance(writes, list) else {}
    follows = False  # true if the suite may have written this frame together with the one before
    run = None  # (offset, mark, first, masks, payload) of the frames to be yielded as one line
    for frame in suite:
        length = frame.end - frame.start
        size = sizes.get(frame.start, writes if isinstance(writes, int) else 0)
        joins = follows and size == 0 and frame.start not in breaks
        follows = size == 0

        if run and joins and run[1:3] == ("+", frame.first) and run[4] == frame.payload:
            run[3].append(frame.mask)
            continue
        if run:
            yield run[0], run_text(run)
            run = None
        mark = "+" if joins else f">{size}" if 0 < size < length else ">"
        pauses = sorted(octets for octets in breaks if frame.start < octets < frame.end)
        if not pauses:
            run = (frame.start, mark, frame.first, [frame.mask], frame.payload)
            continue
        cuts = [frame.start, *pauses, frame.end]
        for start, end in zip(cuts, cuts[1:]):
            yield start, f"= {wire.suite[start:end].hex()}"
    if run:
        yield run[0], run_text(run)


def write_starts(writes):
    """Yields (offset, octets) for every write; octets is 0 if it may be merged with the next."""
    at = 0
    for size, alone in writes:
        yield at, size if alone else 0
        at += size


def run_text(run):
    """Returns the line of a run of frames."""
    _, mark, first, masks, payload = run
    return f"{mark} {first:02x} {b''.join(masks).hex()} {octets_text(payload)}"


def frames(data, masked):
    """Returns the frames of a byte string. Asserts that lengths are in the shortest form."""
    found, at = [], 0
    while at < len(data):
        start, first, length = at, data[at], data[at + 1] & 127
        assert bool(data[at + 1] & 128) == masked, "mask bit"
        at += 2
        if length == 126:
            (length,) = struct.unpack_from("!H", data, at)
            at += 2
            assert length > 125
        elif length == 127:
            (length,) = struct.unpack_from("!Q", data, at)
            at += 8
            assert length > 65535
        mask = data[at : at + 4] if masked else b""
        at += len(mask)
        payload = data[at : at + length]
        assert len(payload) == length, "a frame cut short"
        at += length
        found.append(Frame(first, mask, unmask(payload, mask), start, at))
    return found


def unmask(payload, mask):
    """Applies a mask of four octets to a payload; an empty mask changes nothing."""
    if not mask or not payload:
        return payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return number.to_bytes(len(payload), "big")


def octets_text(octets):
    """Returns octets in hexadecimal; a repeated unit as `UNIT*LENGTH`, `-` if there are none."""
    if not octets:
        return "-"
    for period in range(1, 65):
        if len(octets) < 2 * period + 8:
            break
        unit = octets[:period]
        if (unit * (len(octets) // period + 1))[: len(octets)] == octets:
            return f"{unit.hex()}*{len(octets)}"
    return octets.hex()


def suite_octets(line):
    """Returns the suite's octets of a line of a transcript; none if it is a line of the server."""
    mark, *fields = line.split(" ")
    if mark == "=":
        return bytes.fromhex(fields[0])
    if mark[0] not in ">+":
        return b""
    first, masks = bytes.fromhex(fields[0]), bytes.fromhex(fields[1])
    unit, _, length = fields[2].partition("*")
    payload = b"" if unit == "-" else bytes.fromhex(unit)
    if length:
        payload = (payload * (int(length) // len(payload) + 1))[: int(length)]
    size = len(payload)
    if size < 126:
        header = first + bytes([128 | size])
    elif size < 1 << 16:
        header = first + struct.pack("!BH", 128 | 126, size)
    else:
        header = first + struct.pack("!BQ", 128 | 127, size)
    keys = (masks[at : at + 4] for at in range(0, len(masks), 4))
    return b"".join(header + key + unmask(payload, key) for key in keys)


def write(out, group, text):
    """Writes the transcript of a group, compressed if it is large."""
    data = text.encode("ascii")
    path = out / f"{group}.txt"
    if len(data) > COMPRESSED_ABOVE_BYTES:
        path = out / f"{group}.txt.gz"
        data = gzip.compress(data, 9, mtime=0)
    path.write_bytes(data)
    print(path, len(data), "bytes")


if __name__ == "__main__":
    main()
