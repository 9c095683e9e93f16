#!/usr/bin/env python3
"""Stands in for curl with the options that the documents use.

usage: curl [-X METHOD] [-H 'NAME: VALUE']... [-d BODY] URL
"""

import argparse
import sys
import urllib.error
import urllib.request

SECONDS_MAX = 10


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].strip())
    parser.add_argument("-X")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    parser.add_argument("url")
    options = parser.parse_args()
    body = None if options.d is None else options.d.encode()
    request = urllib.request.Request(options.url, body, method=options.X)
    for header in options.H:
        name, _, value = header.partition(":")
        request.add_header(name, value.strip())
    try:
        response = urllib.request.urlopen(request, timeout=SECONDS_MAX)
    except urllib.error.HTTPError as error:
        response = error
    except OSError as error:
        sys.exit(f"curl: {error}")
    sys.stdout.buffer.write(response.read())


main()
