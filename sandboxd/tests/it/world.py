"""Both ends of a network for a test: `machine` answers questions for names on its loopback and serves on all of its
addresses; `outside` serves TCP on port 80, echoes UDP on port 81, and on port 82 sends back what it was sent."""
import pathlib
import socket
import sys
import threading


def connections(port, serve):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)

    def accept():
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def send_back(connection):
    with connection:
        everything = bytearray()
        while chunk := connection.recv(1 << 18):
            everything += chunk
        connection.sendall(everything)


def datagrams(s, answer):
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
connections(7777 if machine else 80, socket.socket.close)
if not machine:
    connections(82, send_back)
place, answer = (("127.0.0.1", 53), address_record) if machine else (("0.0.0.0", 81), lambda data: data)
named = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
named.bind(place)
pathlib.Path(sys.argv[1] + ".up").touch()
datagrams(named, answer)
