"""Sends bytes to a place that sends all of them back once it has the last, over several connections at once, and prints how
many came back as they were.

Arguments: ADDRESS PORT CONNECTIONS MEBIBYTES.
"""
import concurrent.futures
import os
import socket
import sys

address, port, connections, mebibytes = sys.argv[1], *map(int, sys.argv[2:])


def there_and_back(_):
    sent = os.urandom(mebibytes << 20)
    with socket.create_connection((address, port), timeout=30) as s:
        s.sendall(sent)
        s.shutdown(socket.SHUT_WR)
        back = bytearray()
        while chunk := s.recv(1 << 18):
            back += chunk
    return back == sent


with concurrent.futures.ThreadPoolExecutor(connections) as pool:
    print(sum(pool.map(there_and_back, range(connections))))
