#!/usr/bin/python3
"""Asks a server of layers_numpy.py: layers_client.py SOCKET LAYER IN OUT"""

import socket
import sys

with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    client.sendall("\0".join(sys.argv[2:]).encode())
    said = client.recv(1 << 16).decode()
if said != "done":
    sys.exit(said)
