// Makes a container of a running Azure Blob service, if it is not there yet.
//
//   AZURE_STORAGE_ENDPOINT=… AZURE_STORAGE_ACCOUNT=… AZURE_STORAGE_KEY=… node make-container.mjs NAME
import { createHmac } from 'node:crypto'

const { AZURE_STORAGE_ENDPOINT: endpoint, AZURE_STORAGE_ACCOUNT: account, AZURE_STORAGE_KEY: key } = process.env
const url = new URL(`${endpoint}/${process.argv[2]}?restype=container`)

// The string to sign of a PUT without a body and its eleven standard headers:
// learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
const headers = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2022-11-02' }
const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}`)
const text = ['PUT', ...Array(11).fill(''), ...lines, `/${account}${url.pathname}`, 'restype:container'].join('\n')
const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64')

const answer = await fetch(url, { method: 'PUT', headers: { ...headers, authorization: `SharedKey ${account}:${signature}` } })
if (!answer.ok && answer.headers.get('x-ms-error-code') !== 'ContainerAlreadyExists') {
  console.error(`making the container failed (${answer.status}): ${await answer.text()}`)
  process.exit(1)
}
