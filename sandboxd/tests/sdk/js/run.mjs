// Drives a sandboxd with the unmodified official SDK from npm. Needs E2B_API_KEY, E2B_API_URL and E2B_SANDBOX_URL.
// ACTING_USER names a second user of sandboxes, by default root, which only a server that runs as root has.
// Prints one line per promise and ends with a non-zero status at the first that does not hold.

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { CommandExitError, FileNotFoundError, NotFoundError, Sandbox } from 'e2b'

async function promise(text, check) {
  await check()
  console.log(`ok ${text}`)
}

/** Waits for a condition, at most ten seconds. */
async function until(what, condition) {
  const end = Date.now() + 10_000
  while (!(await condition())) {
    assert.ok(Date.now() < end, `not in time: ${what}`)
    await delay(10)
  }
}

const actingUser = process.env.ACTING_USER ?? 'root'
const tag = `js ${process.pid} & more`
const sandbox = await Sandbox.create({ timeoutMs: 120_000, metadata: { tag }, envs: { GREETING: 'hello' } })
try {
  await promise('a new sandbox runs', async () => {
    assert.match(sandbox.sandboxId, /^i[a-z0-9]{20}$/)
    assert.equal(await sandbox.isRunning(), true)
  })

  await promise('a command gives stdout, stderr and its exit code', async () => {
    const result = await sandbox.commands.run('echo $GREETING; echo oops >&2; pwd; whoami')
    assert.equal(result.stdout, 'hello\n/home/user\nuser\n')
    assert.equal(result.stderr, 'oops\n')
    assert.equal(result.exitCode, 0)
    await assert.rejects(sandbox.commands.run('exit 7'), (error) => error instanceof CommandExitError && error.exitCode === 7)
  })

  await promise('a command takes a user, a directory and environment', async () => {
    const result = await sandbox.commands.run('echo $(whoami) $PWD $X', { user: actingUser, cwd: '/tmp', envs: { X: 'y' } })
    assert.equal(result.stdout, `${actingUser} /tmp y\n`)
  })

  await promise('a command in the background is listed, takes input, is reconnected to and killed', async () => {
    const command = await sandbox.commands.run('cat', { background: true, stdin: true })
    const listed = await sandbox.commands.list()
    assert.ok(listed.some((process) => process.pid === command.pid && process.args.includes('cat')))
    let seen = ''
    const again = await sandbox.commands.connect(command.pid, { onStdout: (data) => (seen += data) })
    await sandbox.commands.sendStdin(command.pid, 'ping\n')
    await until('input comes back', () => seen === 'ping\n')
    await again.disconnect()
    assert.equal(await sandbox.commands.kill(command.pid), true)
    await assert.rejects(command.wait(), CommandExitError)
    assert.equal(await sandbox.commands.kill(command.pid), false)
  })

  await promise('closing the input of a command ends it', async () => {
    const command = await sandbox.commands.run('wc -c', { background: true, stdin: true })
    await sandbox.commands.sendStdin(command.pid, '12345')
    await sandbox.commands.closeStdin(command.pid)
    assert.equal((await command.wait()).stdout.trim(), '5')
  })

  await promise('a terminal echoes, is resized, and ends', async () => {
    let screen = ''
    const decoder = new TextDecoder()
    const terminal = await sandbox.pty.create({ cols: 80, rows: 24, timeoutMs: 0, onData: (data) => (screen += decoder.decode(data, { stream: true })) })
    const type = (text) => sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode(text))
    await type('echo result:$((6*7)) $TERM\n')
    await until('the echo', () => screen.includes('result:42 xterm-256color'))
    await sandbox.pty.resize(terminal.pid, { cols: 123, rows: 45 })
    await type('stty size\n')
    await until('the size', () => screen.includes('45 123'))
    await type('exit 3\n')
    await assert.rejects(terminal.wait(), (error) => error.exitCode === 3)
  })

  await promise('a terminal is killed', async () => {
    const terminal = await sandbox.pty.create({ cols: 80, rows: 24, timeoutMs: 0, onData: () => {} })
    assert.equal(await sandbox.pty.kill(terminal.pid), true)
    await assert.rejects(terminal.wait())
  })

  await promise('files are written, read, listed, moved and removed', async () => {
    const { files } = sandbox
    const written = await files.write('dir/one.txt', 'hello wörld')
    assert.equal(written.path, '/home/user/dir/one.txt')
    assert.equal(await files.read('dir/one.txt'), 'hello wörld')
    const bytes = new Uint8Array(3_000_000).map((_, index) => index % 251)
    await files.write('/workspace/big.bin', bytes.buffer)
    assert.deepEqual(await files.read('/workspace/big.bin', { format: 'bytes' }), bytes)
    await files.write([{ path: 'dir/two.txt', data: '2' }, { path: 'dir/three.txt', data: '3' }])
    assert.deepEqual((await files.list('dir')).map((entry) => entry.name), ['one.txt', 'three.txt', 'two.txt'])
    assert.equal(await files.read('dir/two.txt'), '2')
    assert.equal(await files.makeDir('made/deep'), true)
    assert.equal(await files.makeDir('made/deep'), false)
    const info = await files.getInfo('dir/one.txt')
    assert.deepEqual([info.type, info.size, info.mode, info.owner, info.permissions], ['file', 12, 0o644, 'user', '-rw-r--r--'])
    await files.rename('dir/one.txt', 'moved/1.txt')
    assert.equal(await files.exists('dir/one.txt'), false)
    assert.equal(await files.exists('moved/1.txt'), true)
    await files.remove('moved')
    assert.equal(await files.exists('moved/1.txt'), false)
    await assert.rejects(files.read('nothing'), (error) => error instanceof FileNotFoundError || error instanceof NotFoundError)
    await files.write('packed.txt', 'x'.repeat(10_000), { gzip: true })
    assert.equal((await files.read('packed.txt')).length, 10_000)
    await files.write('empty.txt', '')
    assert.equal(await files.read('empty.txt'), '')
    await files.write('noted.txt', 'n', { metadata: { author: 'me' } })
    assert.deepEqual((await files.getInfo('noted.txt')).metadata, { author: 'me' })
  })

  await promise('signed URLs work from any client', async () => {
    const upload = await sandbox.uploadUrl('signed.txt', { useSignatureExpiration: 60_000 })
    const form = new FormData()
    form.append('file', new Blob(['by url']), 'signed.txt')
    assert.equal((await fetch(upload, { method: 'POST', body: form })).status, 200)
    const download = await sandbox.downloadUrl('signed.txt', { useSignatureExpiration: 60_000 })
    assert.equal(await (await fetch(download)).text(), 'by url')
    assert.equal((await fetch(download.replace('signed.txt', 'other.txt'))).status, 401)
  })

  await promise('a directory is watched', async () => {
    await sandbox.files.makeDir('watched/sub')
    const events = []
    const watch = await sandbox.files.watchDir('watched', (event) => events.push(event), { recursive: true, includeEntry: true })
    await sandbox.files.write('watched/a.txt', 'a')
    await until('create', () => events.some((event) => event.name === 'a.txt' && event.type === 'create'))
    await until('write', () => events.some((event) => event.name === 'a.txt' && event.type === 'write' && event.entry?.path.endsWith('/a.txt')))
    await sandbox.files.write('watched/sub/b.txt', 'b')
    await until('below', () => events.some((event) => event.name === 'sub/b.txt' && event.type === 'create'))
    await sandbox.files.makeDir('watched/new')
    await until('new', () => events.some((event) => event.name === 'new' && event.type === 'create'))
    await sandbox.files.write('watched/new/c.txt', 'c')
    await until('below new', () => events.some((event) => event.name === 'new/c.txt'))
    await sandbox.files.remove('watched/a.txt')
    await until('remove', () => events.some((event) => event.name === 'a.txt' && event.type === 'remove'))
    await watch.stop()
  })

  await promise('it is listed by its metadata, and described', async () => {
    const page = await Sandbox.list({ query: { metadata: { tag } } }).nextItems()
    assert.deepEqual(page.map((found) => found.sandboxId), [sandbox.sandboxId])
    const none = await Sandbox.list({ query: { metadata: { tag: `${tag}x` } } }).nextItems()
    assert.deepEqual(none, [])
    const info = await Sandbox.getInfo(sandbox.sandboxId)
    assert.deepEqual([info.state, info.templateId, info.metadata.tag], ['running', 'base', tag])
  })

  await promise('its life is set and extended, and connect does not shorten it', async () => {
    await sandbox.setTimeout(600_000)
    const end = (await sandbox.getInfo()).endAt.getTime()
    assert.ok(Math.abs(end - Date.now() - 600_000) < 5_000)
    const again = await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 10_000 })
    assert.equal((await again.getInfo()).endAt.getTime(), end)
    assert.equal((await again.commands.run('echo same')).stdout, 'same\n')
  })
} finally {
  await promise('a killed sandbox is gone', async () => {
    assert.equal(await sandbox.kill(), true)
    assert.equal(await sandbox.isRunning(), false)
    assert.equal(await Sandbox.kill(sandbox.sandboxId), false)
    await assert.rejects(Sandbox.connect(sandbox.sandboxId))
  })
}
