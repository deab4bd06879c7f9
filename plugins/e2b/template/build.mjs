// Builds the Dockerfile beside it as an E2B template.
//
//   node build.mjs [--check] [--name NAME] [--cpus N] [--memory MIB] [--no-cache]
//
// --check reads the Dockerfile with E2B's own parser and prints the steps that
// would be built; it needs neither a key nor a network.
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { Template, defaultBuildLogger } from 'e2b'

const { values: options } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    name: { type: 'string', default: 'sandbox-broker' },
    cpus: { type: 'string', default: '2' },
    memory: { type: 'string', default: '2048' },
    'no-cache': { type: 'boolean', default: false },
  },
})

const dockerfile = await readFile(new URL('Dockerfile', import.meta.url), 'utf8')
const template = Template().fromDockerfile(dockerfile)

if (options.check) {
  const parsed = JSON.parse(await Template.toJSON(template))
  console.log(`from ${parsed.fromImage}`)
  for (const { type, args } of parsed.steps) console.log(`${type} ${args.join(' ')}`)
  process.exit(0)
}

if (!process.env.E2B_API_KEY) {
  console.error('Missing required environment variable: E2B_API_KEY')
  process.exit(1)
}

const built = await Template.build(template, options.name, {
  cpuCount: Number(options.cpus),
  memoryMB: Number(options.memory),
  skipCache: options['no-cache'],
  onBuildLogs: defaultBuildLogger(),
})
console.log(`Built ${options.name} (${built.templateId}). Set it in broker.toml:`)
console.log(`\n[providers.e2b.config]\ntemplate = "${options.name}"`)
