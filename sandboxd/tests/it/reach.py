"""Tries to reach places from inside a sandbox and prints those that answered, one a line.

Arguments: KIND/ADDRESS/PORT or KIND/ADDRESS/PORT/DEVICE, where KIND is tcp, udp or abstract. An argument that begins with "!" is printed when it fails
with anything but the kernel's word that there is no way.
"""
import concurrent.futures
import errno
import socket
import sys

NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH)


def attempt(kind, address, port, device=None):
    if kind == "abstract":
        family, target = socket.AF_UNIX, "\0" + address
    else:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        target = socket.getaddrinfo(address, int(port), family)[0][4]
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as s:
        s.settimeout(1)
        if device:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        s.connect(target)
        if kind == "udp":
            s.send(b"hello")
            s.recv(64)


def look(word):
    closed = word.startswith("!")
    try:
        attempt(*word.removeprefix("!").split("/"))
        return word
    except OSError as error:
        return f"{word} {error}" if closed and error.errno not in NO_WAY else None


with concurrent.futures.ThreadPoolExecutor(32) as pool:
    for found in pool.map(look, sys.argv[1:]):
        if found:
            print(found)
