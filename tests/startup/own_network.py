#!/usr/bin/env python3
"""Starts a gateway in its own network namespace and prints the addresses that it serves.

usage: unshare -rn python3 tests/startup/own_network.py on|off PROGRAM LISTEN

`off` disables IPv6 in the namespace. Prints the addresses of the gateway's ready line and the
status of GET /health on 127.0.0.1 and ::1, or "none" if the connection is refused.
"""

import http.client
import pathlib
import subprocess
import sys

SECONDS_MAX = 15


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    ipv6, program, listen = sys.argv[1:]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if ipv6 == "off":
        pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    command = [program, "--listen", listen, "--insecure", "--shards", "1"]
    gateway = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        ready = gateway.stdout.readline().split(" is ready on ")[1].split(" with ")[0]
        port = listen.rpartition(":")[2]
        statuses = [f"{host} {status(host, port)}" for host in ("127.0.0.1", "::1")]
        print(ready, "|", ", ".join(statuses))
    finally:
        gateway.terminate()
        try:
            gateway.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            gateway.kill()
            raise


def status(host, port):
    """Returns the status of GET /health, or "none" if it fails."""
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS_MAX)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except OSError:
        return "none"


main()
