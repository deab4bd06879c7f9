"""A file system in user space that stores a file when it is closed, and takes its time.

    slow_store.py DIRECTORY PORT [SECONDS]

Mounts itself by fusermount3 and tells 127.0.0.1:PORT what happens, one JSON object a line:
{"mounted": true}, {"stored": name, "content": text} at the end of each close of a changed
file, {"removed": name}, {"unmounted": true}. One flat directory of files; a close takes SECONDS.
Speaks the kernel's own protocol (include/uapi/linux/fuse.h), so that nothing but Python is needed.
"""

import errno
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import time

LOOKUP, FORGET, GETATTR, SETATTR, UNLINK, OPEN, READ, WRITE = 1, 2, 3, 4, 10, 14, 15, 16
STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 17, 18, 20, 25, 26, 27, 28, 29
CREATE, INTERRUPT, DESTROY, BATCH_FORGET = 35, 36, 38, 42

WITHOUT_ANSWER = (FORGET, BATCH_FORGET, INTERRUPT)
ROOT = 1
SIZE_IS_SET = 1 << 3


class Refused(Exception):
    pass


class Store:
    def __init__(self, tell, seconds):
        self.tell, self.seconds = tell, seconds
        self.names = {}  # name -> node
        self.files = {}  # node -> bytearray
        self.changed = set()
        self.next = ROOT + 1

    def attributes(self, node):
        content = self.files.get(node)
        if content is None and node != ROOT:
            raise Refused(errno.ENOENT)
        mode = stat.S_IFDIR | 0o777 if node == ROOT else stat.S_IFREG | 0o666
        size = 0 if content is None else len(content)
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def entry(self, node):
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(node)

    def answer(self, operation, node, body):
        if operation == INIT:
            # Version 7.31, no further features, writes of at most 128 KiB.
            return struct.pack("<IIIIHHIIHHII24x", 7, 31, 1 << 17, 0, 16, 12, 1 << 17, 1, 0, 0, 0, 0)
        if operation == LOOKUP:
            name = text(body)
            if name not in self.names:
                raise Refused(errno.ENOENT)
            return self.entry(self.names[name])
        if operation == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if operation == SETATTR:
            valid, _, _, size = struct.unpack_from("<IIQQ", body)
            if valid & SIZE_IS_SET:
                content = self.files[node]
                content[:] = content[:size].ljust(size, b"\0")
                self.changed.add(node)
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if operation == CREATE:
            node, self.next = self.next, self.next + 1
            self.names[text(body[16:])] = node
            self.files[node] = bytearray()
            return self.entry(node) + struct.pack("<QII", 0, 0, 0)
        if operation in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 0, 0)
        if operation == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self.files[node][offset : offset + size])
        if operation == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            content = self.files[node]
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + size] = body[40 : 40 + size]
            self.changed.add(node)
            return struct.pack("<II", size, 0)
        if operation == FLUSH:
            if node in self.changed:
                time.sleep(self.seconds)
                self.changed.discard(node)
                name = next((name for name, of in self.names.items() if of == node), None)
                self.tell({"stored": name, "content": self.files[node].decode()})
            return b""
        if operation == READDIR:
            _, offset = struct.unpack_from("<QQ", body)
            answer = b""
            for index, (name, of) in list(enumerate(self.names.items(), 1))[offset:]:
                name = name.encode()
                answer += struct.pack("<QQII", of, index, len(name), stat.S_IFREG >> 12) + name + bytes(-len(name) % 8)
            return answer
        if operation == UNLINK:
            self.names.pop(text(body))
            self.tell({"removed": text(body)})
            return b""
        if operation == STATFS:
            return bytes(80)
        if operation in (RELEASE, RELEASEDIR, FSYNC, DESTROY):
            return b""
        raise Refused(errno.ENOSYS)


def text(body):
    return body.split(b"\0", 1)[0].decode()


def mount(directory):
    mine, its = socket.socketpair()
    environment = dict(os.environ, _FUSE_COMMFD=str(its.fileno()))
    command = ["fusermount3", "-o", "rw,allow_other,fsname=slow,subtype=store", "--", directory]
    subprocess.run(command, env=environment, pass_fds=[its.fileno()], check=True)
    its.close()
    return socket.recv_fds(mine, 1, 1)[1][0]


def main():
    directory, port = sys.argv[1], int(sys.argv[2])
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0
    listener = socket.create_connection(("127.0.0.1", port))
    tell = lambda event: listener.sendall(json.dumps(event).encode() + b"\n")
    device = mount(directory)
    store = Store(tell, seconds)
    while True:
        try:
            request = os.read(device, (1 << 17) + 4096)
        except OSError as error:
            if error.errno == errno.ENODEV:
                break
            raise
        _, operation, unique, node = struct.unpack_from("<IIQQ", request)
        try:
            failure, body = 0, store.answer(operation, node, request[40:])
        except Refused as refused:
            failure, body = -refused.args[0], b""
        if operation not in WITHOUT_ANSWER:
            os.write(device, struct.pack("<IiQ", 16 + len(body), failure, unique) + body)
        if operation == INIT:
            tell({"mounted": True})
    os.close(device)
    # What comes after the end of the mount must still be done.
    time.sleep(seconds)
    tell({"unmounted": True})


main()
