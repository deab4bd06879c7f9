"""Drives a sandboxd with the unmodified official SDK from PyPI. Needs E2B_API_KEY, E2B_API_URL and E2B_SANDBOX_URL.

ACTING_USER names a second user of sandboxes, by default root, which only a server that runs as root has.
Prints one line per promise and ends with a non-zero status at the first that does not hold.
"""

import os
import time
import urllib.error
import urllib.request

from e2b import CommandExitException, NotFoundException, PtySize, Sandbox, SandboxQuery


def ok(text: str) -> None:
    print(f"ok {text}", flush=True)


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}")


def until(what, condition) -> None:
    """Waits for a condition, at most ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.01)


acting_user = os.environ.get("ACTING_USER", "root")
tag = f"py {os.getpid()} & more"
sandbox = Sandbox.create(timeout=120, metadata={"tag": tag}, envs={"GREETING": "hello"})
try:
    assert sandbox.is_running()
    ok("a new sandbox runs")

    result = sandbox.commands.run("echo $GREETING; echo oops >&2; pwd; whoami")
    assert (result.stdout, result.stderr, result.exit_code) == ("hello\n/home/user\nuser\n", "oops\n", 0), result
    assert raises(CommandExitException, lambda: sandbox.commands.run("exit 7")).exit_code == 7
    result = sandbox.commands.run("echo $(whoami) $PWD $X", user=acting_user, cwd="/tmp", envs={"X": "y"})
    assert result.stdout == f"{acting_user} /tmp y\n", result
    ok("a command gives stdout, stderr and its exit code")

    command = sandbox.commands.run("cat", background=True, stdin=True)
    assert any(process.pid == command.pid for process in sandbox.commands.list())
    sandbox.commands.send_stdin(command.pid, "ping\n")
    for stdout, _, _ in command:
        assert stdout == "ping\n", stdout
        break
    assert sandbox.commands.kill(command.pid) is True
    until("it is gone", lambda: sandbox.commands.kill(command.pid) is False)
    ok("a command in the background is listed, takes input and is killed")

    terminal = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=0)
    sandbox.pty.send_stdin(terminal.pid, b"echo result:$((6*7)) $TERM\n")
    sandbox.pty.resize(terminal.pid, PtySize(rows=45, cols=123))
    sandbox.pty.send_stdin(terminal.pid, b"stty size; exit 3\n")
    screen = bytearray()
    error = raises(CommandExitException, lambda: terminal.wait(on_pty=screen.extend))
    assert error.exit_code == 3, error
    assert b"result:42 xterm-256color" in screen and b"45 123" in screen, bytes(screen)
    terminal = sandbox.pty.create(PtySize(rows=24, cols=80), timeout=0)
    assert sandbox.pty.kill(terminal.pid) is True
    ok("a terminal echoes, is resized, ends and is killed")

    files = sandbox.files
    assert files.write("dir/one.txt", "hello wörld").path == "/home/user/dir/one.txt"
    assert files.read("dir/one.txt") == "hello wörld"
    data = bytes(index % 251 for index in range(3_000_000))
    files.write("/workspace/big.bin", data)
    assert files.read("/workspace/big.bin", format="bytes") == data
    files.write_files([{"path": "dir/two.txt", "data": "2"}, {"path": "dir/three.txt", "data": "3"}])
    assert [entry.name for entry in files.list("dir")] == ["one.txt", "three.txt", "two.txt"]
    assert files.make_dir("made/deep") is True
    assert files.make_dir("made/deep") is False
    info = files.get_info("dir/one.txt")
    assert (info.size, info.mode, info.owner, info.permissions) == (12, 0o644, "user", "-rw-r--r--"), info
    files.rename("dir/one.txt", "moved/1.txt")
    assert not files.exists("dir/one.txt") and files.exists("moved/1.txt")
    files.remove("moved")
    assert not files.exists("moved/1.txt")
    raises(NotFoundException, lambda: files.read("nothing"))
    ok("files are written, read, listed, moved and removed")

    url = sandbox.download_url("dir/two.txt", use_signature_expiration=60)
    assert urllib.request.urlopen(url).read() == b"2"
    refused = raises(urllib.error.HTTPError, lambda: urllib.request.urlopen(url.replace("two", "three")))
    assert refused.code == 401
    ok("signed URLs work from any client")

    watch = files.watch_dir("dir")
    files.write("dir/four.txt", "4")
    seen = []
    until("the event", lambda: seen.extend(watch.get_new_events()) or any(event.name == "four.txt" for event in seen))
    watch.stop()
    ok("a directory is watched by polling")

    page = Sandbox.list(query=SandboxQuery(metadata={"tag": tag})).next_items()
    assert [found.sandbox_id for found in page] == [sandbox.sandbox_id], page
    assert Sandbox.list(query=SandboxQuery(metadata={"tag": tag + "x"})).next_items() == []
    sandbox.set_timeout(600)
    info = sandbox.get_info()
    again = Sandbox.connect(sandbox.sandbox_id, timeout=10)
    assert again.get_info().end_at == info.end_at
    assert again.commands.run("echo same").stdout == "same\n"
    ok("it is listed, its life is extended, and connect does not shorten it")
finally:
    assert sandbox.kill() is True
    assert sandbox.is_running() is False
    assert Sandbox.kill(sandbox.sandbox_id) is False
    ok("a killed sandbox is gone")
