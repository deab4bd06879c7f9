"""Both ends of a network for a test: `machine` answers questions for names on its loopback and serves on all of its
addresses; `outside` serves TCP on port 80 and echoes UDP on port 81."""
import pathlib
import socket
import sys
import threading


def accept(port):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        server.accept()[0].close()


def datagrams(address, port, answer):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    while True:
        data, peer = s.recvfrom(2048)
        s.sendto(answer(data), peer)


def address_record(question):
    """Every name has the address 10.77.0.2."""
    end = question.index(b"\0", 12) + 5
    kind = question[end - 4 : end - 2]
    records = 1 if kind == b"\0\1" else 0
    head = question[:2] + b"\x81\x80" + b"\0\1" + bytes([0, records]) + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([10, 77, 0, 2])
    return head + question[12:end] + record * records


machine = sys.argv[1] == "machine"
threading.Thread(target=accept, args=(7777 if machine else 80,), daemon=True).start()
work = ("127.0.0.1", 53, address_record) if machine else ("0.0.0.0", 81, lambda data: data)
worker = threading.Thread(target=datagrams, args=work)
worker.start()
pathlib.Path(sys.argv[1] + ".up").touch()
worker.join()
