"""A sandbox provider in Python: as much of E2B's protocol as the contract requires, over `net.fetch`.

The same as golden-javascript. Its processes are not handed over to the host: an instance lives as long
as its process.
"""

import base64
import json
import struct
from urllib.parse import quote

from componentize_py_async_support import spawn
from componentize_py_types import Err, Ok
from wit_world import exports, result_types_exit_types_error_future
from wit_world.exports import exec, sandbox
from wit_world.imports import net, streams, types
from wit_world.imports.streams import byte_stream

CHUNK = 64 << 10
RUNNING = "running,paused"
SIGNALS = {"SIGTERM": "SIGNAL_SIGTERM", "SIGKILL": "SIGNAL_SIGKILL"}


def failure(code, message):
    return Err(types.Error(code, message, None, []))


def body(data):
    """A stream of these bytes."""
    writer, reader = byte_stream()

    async def feed():
        with writer:
            await writer.write_all(data)

    spawn(feed())
    return reader


async def fetch(method, url, headers=(), data=None):
    """An answer whose status is good."""
    request = net.Request(method, url, list(headers))
    answer = await net.fetch(request, None if data is None else body(data)).read()
    if isinstance(answer, Err):
        raise answer
    answer = answer.value
    if answer.status < 300:
        return answer
    said = (await whole(answer))[:200].decode(errors="replace")
    code = types.Code.NOT_FOUND if answer.status == 404 else types.Code.UNAVAILABLE
    raise failure(code, f"the server answered {answer.status}: {said}")


async def whole(answer):
    """All bytes of an answer."""
    data = b""
    with answer.body as stream:
        while not stream.writer_dropped:
            data += await stream.read(CHUNK)
    end = await answer.ended.read()
    if isinstance(end, Err):
        raise end
    return data


async def api(config, method, path, value=None):
    """A request to the control plane, and its answer."""
    headers, data = [("accept", "application/json")], None
    if value is not None:
        headers, data = [*headers, ("content-type", "application/json")], json.dumps(value).encode()
    answer = await fetch(method, json.loads(config)["url"] + path, headers, data)
    text = await whole(answer)
    return json.loads(text) if text else None


def seconds(ms):
    return max(1, -(-ms // 1000))


def reference(made):
    return types.SandboxRef(made["sandboxID"], (made.get("envdAccessToken") or "").encode())


class Manifest(exports.Manifest):
    def describe(self):
        return json.dumps({
            "id": "golden-python",
            "version": "0.1.0",
            "title": "Golden Python",
            "kind": "sandbox",
        })

    def config_schema(self):
        return json.dumps({
            "type": "object",
            "required": ["url"],
            "properties": {"url": {"type": "string"}},
            "additionalProperties": False,
        })

    def validate(self, config):
        return []


class Sandbox(exports.Sandbox):
    async def create(self, c, config, spec):
        return reference(await api(config, "POST", "/v2/sandboxes", {
            "templateID": "base",
            "timeout": seconds(spec.ttl_ms),
            "metadata": dict(spec.labels),
            "envVars": dict(spec.env),
        }))

    async def connect(self, c, config, s, ttl_ms):
        path = f"/v2/sandboxes/{quote(s.id)}/connect"
        return reference(await api(config, "POST", path, {"timeout": seconds(ttl_ms)}))

    async def kill(self, c, config, s):
        try:
            await api(config, "DELETE", f"/sandboxes/{quote(s.id)}")
        except Err as error:
            if error.value.code != types.Code.NOT_FOUND:
                raise

    async def list(self, c, config, labels, cursor):
        wanted = "&".join(f"{quote(quote(k))}={quote(quote(v))}" for k, v in labels)
        found = await api(config, "GET", f"/v2/sandboxes?state={quote(RUNNING)}&metadata={quote(wanted)}")
        listed = [sandbox.Listed(s["sandboxID"], list((s.get("metadata") or {}).items()), None, None) for s in found or []]
        return sandbox.Page([s for s in listed if set(labels) <= set(s.labels)], None)


class Lease(exports.Lease):
    async def extend(self, c, config, s, ttl_ms):
        await api(config, "POST", f"/sandboxes/{quote(s.id)}/timeout", {"timeout": seconds(ttl_ms)})
        return s


class Agent:
    """What runs in a sandbox and starts its processes."""

    def __init__(self, config, s):
        self.url = json.loads(config)["url"]
        self.headers = [
            ("e2b-sandbox-id", s.id),
            ("e2b-sandbox-port", "49983"),
            ("x-access-token", s.state.decode()),
            ("connect-protocol-version", "1"),
        ]

    async def start(self, value, user):
        data = json.dumps(value).encode()
        headers = [*self.headers, ("content-type", "application/connect+json")]
        if user is not None:
            headers.append(("authorization", "Basic " + base64.b64encode(f"{user}:".encode()).decode()))
        return await fetch("POST", f"{self.url}/process.Process/Start", headers, struct.pack(">BI", 0, len(data)) + data)

    async def call(self, method, value):
        headers = [*self.headers, ("content-type", "application/json")]
        await whole(await fetch("POST", f"{self.url}/process.Process/{method}", headers, json.dumps(value).encode()))


async def events(answer):
    """What a process says, from the frames of an answer."""
    data = b""
    while not answer.body.writer_dropped:
        data += await answer.body.read(CHUNK)
        while len(data) >= 5:
            kind, size = struct.unpack(">BI", data[:5])
            if len(data) < 5 + size:
                break
            message, data = json.loads(data[5 : 5 + size]), data[5 + size :]
            if kind & 2:
                if "error" in message:
                    raise failure(types.Code.UNAVAILABLE, str(message["error"])[:200])
                return
            yield message.get("event") or {}


def exit_of(end):
    status = end.get("status") or ""
    if status.startswith("signal: "):
        return types.Exit_Signal(status.removeprefix("signal: "))
    return types.Exit_Code(end.get("exitCode") or 0)


async def feed(agent, pid, stdin):
    """Passes standard input on, and its end."""
    process = {"process": {"pid": pid}}
    with stdin:
        while not stdin.writer_dropped:
            data = await stdin.read(CHUNK)
            if data:
                await agent.call("SendInput", process | {"input": {"stdin": base64.b64encode(data).decode()}})
    await agent.call("CloseStdin", process)


async def fed(agent, pid, stdin):
    try:
        await feed(agent, pid, stdin)
    except Err as error:
        # The process has gone; its end says how.
        print(f"standard input was not taken: {error.value.message}")


async def carry(said, stdout, stderr, done):
    """Passes output on until the process has ended."""
    end = failure(types.Code.UNAVAILABLE, "the connection to the process broke")
    try:
        with stdout, stderr:
            async for event in said:
                for name, writer in (("stdout", stdout), ("stderr", stderr)):
                    if data := (event.get("data") or {}).get(name):
                        await writer.write_all(base64.b64decode(data))
                if "end" in event:
                    end = Ok(exit_of(event["end"]))
                    break
    except Err as error:
        end = error
    await done.write(end)


class Exec(exports.Exec):
    async def run(self, c, config, s, command, stdin):
        agent = Agent(config, s)
        program, *arguments = command.argv
        process = {"cmd": program, "args": arguments, "envs": dict(command.env)}
        if command.cwd is not None:
            process["cwd"] = command.cwd
        said = events(await agent.start({"process": process, "stdin": True}, command.user))
        first = await anext(said, {})
        if "start" not in first:
            raise failure(types.Code.UNAVAILABLE, "the process did not start")
        pid = first["start"]["pid"]
        (out, stdout), (err, stderr) = byte_stream(), byte_stream()
        ended, done = result_types_exit_types_error_future(lambda: failure(types.Code.INTERNAL, "nobody said how it ended"))
        spawn(carry(said, out, err, ended))
        spawn(fed(agent, pid, stdin))
        return exec.Process(str(pid), stdout, stderr, streams.Ending_Told(done))

    async def exit_of(self, c, config, s, id, report):
        raise failure(types.Code.UNIMPLEMENTED, "its processes tell their end themselves")

    async def signal(self, c, config, s, id, name):
        if name not in SIGNALS:
            raise failure(types.Code.UNIMPLEMENTED, "only SIGTERM and SIGKILL can be sent")
        await Agent(config, s).call("SendSignal", {"process": {"pid": int(id)}, "signal": SIGNALS[name]})
