"""Asks a port of the machine, in every way that could hide who asks, and prints what came of it, one a line.

Argument: JSON with "ways", "addresses", "port" and "requests", which are pairs of a name and the bytes of an HTTP request.
Prints NAME WAY ADDRESS and "refused", a status, or what the kernel said.
"""
import ctypes
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

CLONE_FILES = 0x400
PR_SET_DUMPABLE = 4
DEADLINE = 20
libc = ctypes.CDLL(None)


def connect(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family)
    connection.settimeout(DEADLINE)
    connection.connect((address, asked["port"]))
    return connection


def answer(connection):
    words = b""
    # A WebSocket has no end.
    while not (words.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in words) and (more := connection.recv(4096)):
        words += more
    if b"This connection is refused" in words:
        return "refused"
    return words.split(b" ")[1].decode() if words else "closed"


def plain(address, request):
    connection = connect(address)
    connection.sendall(request)
    return answer(connection)


def hidden(address, request):
    """By a process that no other of its user may look at."""
    libc.prctl(PR_SET_DUMPABLE, 0)
    return plain(address, request)


def forked(address, request):
    """Held by three processes more."""
    connection = connect(address)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
    connection.sendall(request)
    try:
        return answer(connection)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def orphan(address, request):
    """By a process whose parent has ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                pass
            os.write(write, plain(address, request).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    return os.read(read, 64).decode()


def alone(address, request):
    """By a thread with descriptors of its own, which those of its process do not show."""
    said = []

    def work():
        libc.unshare(CLONE_FILES)
        said.append(plain(address, request))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return said[0]


def handed(address, request):
    """On its way between two processes, held by none, until the server has answered."""
    connection = connect(address)
    connection.sendall(request)
    port = connection.getsockname()[1]
    ours, theirs = socket.socketpair()
    socket.send_fds(ours, [b"x"], [connection.fileno()])
    connection.close()
    end = time.monotonic() + DEADLINE
    while not answered(port) and time.monotonic() < end:
        pass
    _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
    return answer(socket.socket(fileno=descriptors[0]))


def answered(port):
    for table in "/proc/self/net/tcp", "/proc/self/net/tcp6":
        for line in open(table).read().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(f":{port:04X}") and fields[2].endswith(f":{asked['port']:04X}"):
                return fields[3] != "01" or not fields[4].endswith(":00000000")
    return True


def left(address, request):
    """By a process that does not wait for the answer."""
    for _ in range(10):
        connection = connect(address)
        connection.sendall(request)
        connection.close()
    return "sent"


def reset(address, request):
    """The same, and nothing of the connection is left when the server looks."""
    for _ in range(10):
        connection = connect(address)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(request)
        connection.close()
    return "sent"


def flood(address, request):
    """As many connections as it can have, for as long as it lives."""
    print("floods", flush=True)
    kept = []
    while True:
        try:
            kept.append(connect(address))
            kept[-1].sendall(request)
        except OSError:
            pass
        kept = kept[-500:]


asked = json.loads(sys.argv[1])
for address in asked["addresses"]:
    for name, request in asked["requests"]:
        for way in asked["ways"]:
            child = os.fork()
            if child == 0:
                try:
                    said = globals()[way](address, request.encode())
                except OSError as error:
                    said = "unreachable" if isinstance(error, ConnectionRefusedError) else str(error)
                print(name, way, address, said, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
