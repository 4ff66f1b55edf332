"""Websockets that are admitted and then never read again, with as small a receive buffer as the kernel allows.

python3 deaf_sockets.py PORT COUNT, a token on standard input. Prints `ready` once all are admitted, then holds them until
standard input ends. Node.js cannot set the buffer, and a thousand sockets with the usual one hold gigabytes in the kernel.
"""

import base64
import json
import os
import socket
import sys

port, count = int(sys.argv[1]), int(sys.argv[2])
token = sys.stdin.readline().strip()


def masked(text):
    payload = text.encode()
    assert 126 <= len(payload) < 65536
    return bytes([0x81, 0x80 | 126]) + len(payload).to_bytes(2, "big") + bytes(4) + payload


def deaf():
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        "GET /v1/updates/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    stream.sendall(request.encode() + masked("40" + json.dumps({"token": token})))
    received = b""
    while b'40{"sid"' not in received:
        more = stream.recv(4096)
        assert more, received
        received += more
    return stream


sockets = [deaf() for _ in range(count)]
print("ready", flush=True)
sys.stdin.read()
