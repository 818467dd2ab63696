"""Servers and clients of the native tests. The program runs inside a sandbox, with the guest's own Python.

inside.py backend NAME ADDRESS PORT DIRECTORY   an HTTPS server; DIRECTORY/NAME has the status of /favicon.ico, and
                                                DIRECTORY/NAME.seen gets SNI and Host of the last request for it
inside.py fetch SOURCE METHOD URL [HEADER...]   one request from a source address; prints one line of JSON
inside.py raw SOURCE ADDRESS PORT TEXT          sends text, escapes for line ends; prints the answer
inside.py echo ADDRESS PORT                     a TCP server that sends back what it receives
inside.py hold SOURCE ADDRESS PORT              a connection that sends each line of standard input, prints echoes
inside.py flood SOURCE ADDRESS PORT COUNT       opens connections and keeps them until standard input ends
inside.py stray SOURCE ADDRESS PORT             sends one segment of an unknown connection; prints the reaction
inside.py vrrp SOURCE ADDRESS TTL               sends one packet of protocol 112
"""

# ruff: noqa: ANN001, ANN002, ANN201, ANN202, N815, PTH105, PTH118, PTH123, T201 - it runs on the old Python of a guest
# mypy: ignore-errors

import contextlib
import http.client
import http.server
import json
import os
import select
import socket
import socketserver
import ssl
import struct
import sys
import time
from urllib.parse import urlsplit

LIMIT_S = 5.0
TCP_RST, TCP_ACK = 0x04, 0x10
VRRP = 112


def trusting():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def backend(name, address, port, directory):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            with open(os.path.join(directory, name)) as stream:
                healthy = int(stream.read())
            if self.path == "/favicon.ico":
                with open(os.path.join(directory, name + ".new"), "w") as stream:
                    json.dump([names.get(self.connection), self.headers.get("Host")], stream)
                os.replace(stream.name, os.path.join(directory, name + ".seen"))
            body = name.encode()
            self.send_response(healthy if self.path in ("/favicon.ico", "/health") else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = answer

        def log_message(self, *_):
            print(self.client_address[0], self.command, self.path, flush=True)

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "server.pem"))
    names = {}
    context.sni_callback = lambda connection, server, _: names.__setitem__(connection, server)
    server = Server((address, int(port)), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


def fetch(source, method, url, *headers):
    parts = urlsplit(url)
    options = {"timeout": LIMIT_S, "source_address": (source, 0)}
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=trusting(), **options)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, **options)
    try:
        target = parts.path + ("?" + parts.query if parts.query else "")
        connection.request(method, target, headers=dict(header.split(": ", 1) for header in headers))
        response = connection.getresponse()
        body = response.read().decode("utf-8", "replace")
        found = {"status": response.status, "headers": dict(response.getheaders()), "body": body}
    except OSError as error:
        found = {"error": type(error).__name__}
    print(json.dumps(found))


def raw(source, address, port, text):
    with socket.create_connection((address, int(port)), LIMIT_S, (source, 0)) as connection:
        connection.sendall(text.encode().decode("unicode_escape").encode())
        print(connection.recv(65536).decode("utf-8", "replace"))


def echo(address, port):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            while True:
                data = self.request.recv(1024)
                if not data:
                    return
                self.request.sendall(data)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer((address, int(port)), Handler).serve_forever()


def hold(source, address, port):
    with socket.create_connection((address, int(port)), LIMIT_S, (source, 0)) as connection:
        for line in sys.stdin:
            try:
                connection.sendall(line.encode())
                answer = connection.recv(1024)
            except OSError as error:
                answer = type(error).__name__.encode()
            print(answer.decode().strip() or "closed", flush=True)


def flood(source, address, port, count):
    connections = []
    for _ in range(int(count)):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind((source, 0))
        connection.settimeout(LIMIT_S)
        with contextlib.suppress(OSError):
            connection.connect((address, int(port)))
            connections.append(connection)
    print(len(connections), flush=True)
    sys.stdin.read()


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def stray(source, address, port):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.bind((source, 0))
    port, ours = int(port), 40123
    head = struct.pack("!HHIIBBHHH", ours, port, 1000, 2000, 5 << 4, TCP_ACK, 1024, 0, 0)
    pseudo = (
        socket.inet_aton(source) + socket.inet_aton(address) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head))
    )
    head = head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]
    raw.sendto(head, (address, 0))
    end = time.monotonic() + 1.0
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([raw], [], [], left)[0]:
            print("silence")
            return
        packet, (sender, _) = raw.recvfrom(2048)
        offset = (packet[0] & 0x0F) * 4
        from_port, to_port = struct.unpack("!HH", packet[offset : offset + 4])
        if (sender, from_port, to_port) == (address, port, ours):
            print("reset" if packet[offset + 13] & TCP_RST else "answer")
            return


def vrrp(source, address, ttl):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, VRRP)
    raw.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(ttl))
    raw.bind((source, 0))
    raw.sendto(b"\x31\x0b\xfe\x01" + b"\0" * 8, (address, 0))


if __name__ == "__main__":
    commands = (backend, fetch, raw, echo, hold, flood, stray, vrrp)
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
