// A fixed number of GET requests over one kept connection, one after the other: for `http_instructions.sh`.
// node perf/http_requests.mjs URL COUNT PATH [TOKEN]; with PATH `login` it prints a token of a new account instead.
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import net from 'node:net';

const [url, count, path, token] = process.argv.slice(2);
const { hostname, port } = new URL(url);

async function login() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const challenge = randomBytes(32);
  const body = JSON.stringify({
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64'),
    challenge: challenge.toString('base64'),
    signature: sign(null, challenge, privateKey).toString('base64'),
  });
  const answer = await fetch(`${url}/v1/auth`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  const { token } = await answer.json();
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  for (let session = 0; session < 5; session++) {
    const created = JSON.stringify({ tag: `tag ${session}`, metadata: 'm'.repeat(200) });
    await fetch(`${url}/v1/sessions`, { method: 'POST', headers, body: created });
  }
  return token;
}

function requests() {
  // The fields that an app sends.
  const authorization = token ? `Authorization: Bearer ${token}\r\n` : '';
  const request = `GET ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\n${authorization}Accept: application/json\r\n` +
    'User-Agent: measured/1.0\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n';
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
    let left = Number(count);
    let bytes = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('connect', () => socket.write(request));
    socket.on('data', (received) => {
      bytes = Buffer.concat([bytes, received]);
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = bytes.subarray(0, end).toString('latin1');
      const length = Number(/content-length: (\d+)/i.exec(head)[1]);
      if (bytes.length < end + 4 + length) return;
      if (!head.startsWith('HTTP/1.1 200')) reject(new Error(`${path}: ${head}`));
      bytes = Buffer.alloc(0);
      if (--left > 0) socket.write(request);
      else resolve(socket.end());
    });
  });
}

if (path === 'login') console.log(await login());
else await requests();
